import KVClient
import NIOCore
import Testing

@Suite("A call that does not succeed at once", .timeLimit(.minutes(1)))
struct RepeatedCallTests {
  @Test("follows a redirection, with all that the request has")
  func redirections() async throws {
    try await withCluster { cluster, client in
      let there = cluster.addresses[0][1]
      cluster.change { state in
        state.overrides[cluster.addresses[0][0]] = { request in
          request.path == "/status"
            ? nil
            : .init(status: 307, headers: [("Location", "http://\(there)\(request.target)")])
        }
        state.leaders[0] = (node: 1, epoch: 2)
      }
      try await client.put("k", "v", ttlSeconds: 5)
      let put = cluster.nodes[0][1].requests.first { $0.method == "PUT" }
      #expect(put?.target == "/kv/k?ttl=5" && put?.body == "v")
      // It goes there by itself now.
      try await client.put("k", "v")
      #expect(cluster.nodes[0].map { $0.count("PUT", "/kv/k") } == [1, 2, 0])
    }
  }

  @Test("asks again after 503, which has done nothing")
  func overload() async throws {
    try await withCluster { cluster, client in
      let left = Locked(3)
      let leader = cluster.addresses[0][0]
      cluster.change { state in
        state.overrides[leader] = { request in
          guard request.path != "/status" else { return nil }
          return left.mutex.withLock { left in
            left -= 1
            return left >= 0 ? .init(status: 503, headers: [("Retry-After", "1")]) : nil
          }
        }
      }
      try await client.put("k", "v")
      #expect(cluster.nodes[0][0].count("PUT", "/kv/k") == 4)
    }
  }

  @Test("does not send a write again that may have been done, unless it may")
  func lostAnswers() async throws {
    for repeats in [false, true] {
      try await withCluster({ $0.repeatsWrites = repeats }) { cluster, client in
        let leader = cluster.addresses[0][0]
        let left = Locked(1)
        _ = try await client.topology()
        cluster.change { state in
          state.overrides[leader] = { request in
            guard request.path.hasPrefix("/kv") else { return nil }
            return left.mutex.withLock { left in
              defer { left -= 1 }
              return left > 0 ? .init(isDrop: true) : nil
            }
          }
        }
        if repeats {
          try await client.put("k", "v")
          #expect(cluster.nodes[0][0].count("PUT", "/kv/k") == 2)
        } else {
          let lost = KVClientError.outcomeUnknown(leader, .connectionClosed, .PUT)
          await #expect(throws: lost) { try await client.put("k", "v") }
          #expect(!lost.nothingWasDone)
          #expect(cluster.nodes[0][0].count("PUT", "/kv/k") == 1)
        }
        // With a condition it is never sent twice: the second would be judged by the first.
        left.mutex.withLock { $0 = 1 }
        await #expect(throws: KVClientError.self) { try await client.put("c", "v", if: .absent) }
        #expect(cluster.nodes[0][0].count("PUT", "/kv/c") == 1)
        // A read is.
        left.mutex.withLock { $0 = 1 }
        _ = try await client.get("k")
      }
    }
  }

  @Test("a read goes elsewhere when a node says nothing, within its time")
  func silentNode() async throws {
    try await withCluster({ options in
      options.readFrom = .replicas
      options.timeout = .seconds(2)
    }) { cluster, client in
      try await client.put("k", "v")
      let silent = cluster.addresses[0][1]
      cluster.change { state in state.overrides[silent] = { _ in .init(isSilent: true) } }
      for _ in 0..<4 { #expect(try await client.get("k")?.text == "v") }
      cluster.change { state in
        for node in cluster.addresses[0] { state.overrides[node] = { _ in .init(isSilent: true) } }
      }
      let error = await #expect(throws: KVClientError.self) { try await client.put("k", "w") }
      #expect(error.map { !$0.nothingWasDone } == true, "\(String(describing: error))")
    }
  }

  @Test("ends when its task is cancelled, and gives its connection up")
  func cancellation() async throws {
    try await withCluster({ $0.timeout = .seconds(600) }) { cluster, client in
      try await client.put("k", "v")
      for node in cluster.addresses[0] {
        cluster.change { state in state.overrides[node] = { _ in .init(isSilent: true) } }
      }
      for isWrite in [true, false] {
        let task = Task {
          if isWrite { _ = try await client.put("k", "w") } else { _ = try await client.get("k") }
        }
        let method = isWrite ? "PUT" : "GET"
        let before = isWrite ? 1 : 0
        while cluster.nodes[0][0].count(method, "/kv/k") == before {
          try await Task.sleep(for: .milliseconds(1))
        }
        task.cancel()
        let leader = cluster.addresses[0][0]
        await #expect(
          throws: KVClientError.outcomeUnknown(leader, .cancelled, isWrite ? .PUT : .GET)
        ) { try await task.value }
      }
      while cluster.nodes[0][0].openConnections > 0 { try await Task.sleep(for: .milliseconds(1)) }
      // While it waits for a leader, too.
      cluster.change { state in state.overrides = [:] }
      cluster.promote(nil)
      let task = Task { try await client.put("k", "w") }
      let asked = cluster.nodes[0][1].count("GET", "/status")
      while cluster.nodes[0][1].count("GET", "/status") == asked {
        try await Task.sleep(for: .milliseconds(1))
      }
      task.cancel()
      let error = await #expect(throws: KVClientError.self) { try await task.value }
      guard case .neverSent(_, .cancelled) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
    }
  }

  @Test("has a session's reads wait for its writes, at the leader where a replica cannot")
  func sessions() async throws {
    try await withCluster({ $0.readFrom = .replicas }) { cluster, client in
      let session = KVSession()
      let written = try await client.put("k", "v", session: session)
      #expect(try await client.get("k", session: session)?.text == "v")
      let read = cluster.nodes[0][1...].flatMap(\.requests).first { $0.path == "/kv/k" }
      #expect(read?.value("min_version") == written.etag.filter { $0 != "\"" })
      #expect(read?.value("timeout_ms") != nil)
      for node in cluster.addresses[0][1...] {
        cluster.change { state in
          state.overrides[node] = { $0.path == "/kv/k" ? .init(status: 503) : nil }
        }
      }
      #expect(try await client.get("k", session: session)?.text == "v")
      #expect(cluster.nodes[0][0].count("GET", "/kv/k") == 1)
      #expect(try await client.get("k", readFrom: .leader)?.text == "v")
    }
  }

  @Test(
    "has a session's reads wait for its deletes and batches in the epoch that they were done in")
  func sessionOfSeveralEpochs() async throws {
    try await withCluster { cluster, client in
      let session = KVSession()
      try await client.put("k", "v", session: session)
      for (node, epoch) in [(1, 2), (2, 3)] {
        cluster.promote(node)
        if epoch == 2 {
          try await client.delete("k", session: session)
        } else {
          _ = try await client.batch([.put([1], [2])], session: session)
        }
        _ = try await client.get("k", session: session)
        let last = cluster.change { $0.last }
        let read = cluster.nodes[0][node].requests.last { $0.path == "/kv/k" }
        #expect(read?.value("min_version") == "\(last).\(epoch)-00000000000000aa")
      }
    }
  }
}
