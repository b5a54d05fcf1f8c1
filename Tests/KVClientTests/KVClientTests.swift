import KVClient
import NIOCore
import Synchronization
import Testing

/// A client against servers that answer as nodes do.
@Suite("A client of a cluster", .timeLimit(.minutes(1)))
struct KVClientTests {
  private func withCluster(
    shards: Int = 1, nodes: Int = 3, isConfigured: Bool = true,
    _ change: (inout KVClientOptions) -> Void = { _ in },
    body: (FakeCluster, KVClient) async throws -> Void
  ) async throws {
    let cluster = try await FakeCluster(
      shards: shards, nodesPerShard: nodes, isConfigured: isConfigured)
    var options = KVClientOptions()
    change(&options)
    let client = KVClient(seeds: [cluster.nodes[0][0].address], options: options)
    var failure: (any Error)?
    do {
      try await body(cluster, client)
    } catch {
      failure = error
    }
    await client.close()
    try await cluster.stop()
    if let failure { throw failure }
  }

  private let keys = (0..<40).map { "key-\($0)" }

  @Test("sends each key to the leader of its shard, whichever node it has begun with")
  func routes() async throws {
    try await withCluster(shards: 4, nodes: 2) { cluster, client in
      for key in keys { try await client.put(key, "value of \(key)") }
      for key in keys { #expect(try await client.get(key)?.text == "value of \(key)") }
      #expect(try await client.get("absent") == nil)
      #expect(try await client.delete("key-1"))
      #expect(try await !client.delete("key-1"))
      #expect(cluster.misrouted.isEmpty)
      for shard in cluster.nodes {
        #expect(shard[0].requests.contains { $0.method == "PUT" })
        #expect(!shard[1].requests.contains { $0.path.hasPrefix("/kv") })
      }
      // The configuration was read once, and nobody had to be asked who leads.
      #expect(cluster.nodes.joined().map { $0.count("GET", "/admin/config") }.reduce(0, +) == 1)
      #expect(cluster.nodes.joined().allSatisfy { $0.count("GET", "/status") == 0 })
      let topology = try await client.topology()
      #expect(
        topology.version == 1 && topology.shards.map(\.leader) == cluster.addresses.map(\.[0]))
    }
  }

  @Test("reads from replicas, or from all, in turn")
  func readSources() async throws {
    for (source, share) in [(KVReadSource.replicas, [0, 10, 10]), (.any, [10, 10, 10])] {
      try await withCluster({ $0.readFrom = source }) { cluster, client in
        try await client.put("k", "v")
        for _ in 0..<share.reduce(0, +) { #expect(try await client.get("k")?.text == "v") }
        #expect(cluster.nodes[0].map { $0.count("GET", "/kv/k") } == share)
        #expect(try await client.get("k", readFrom: .leader)?.text == "v")
        #expect(cluster.nodes[0][0].count("GET", "/kv/k") == share[0] + 1)
      }
    }
  }

  @Test("reads from those that are left, and comes back to a replica that does")
  func deadReplica() async throws {
    try await withCluster({ $0.readFrom = .replicas }) { cluster, client in
      try await client.put("k", "v")
      try await cluster.nodes[0][1].stop()
      for _ in 0..<10 { #expect(try await client.get("k")?.text == "v") }
      try await cluster.nodes[0][2].stop()
      for _ in 0..<10 { #expect(try await client.get("k")?.text == "v") }
      #expect(cluster.nodes[0][0].count("GET", "/kv/k") >= 9)
      try await cluster.nodes[0][1].start()
      let before = cluster.nodes[0][1].count("GET", "/kv/k")
      while cluster.nodes[0][1].count("GET", "/kv/k") == before {
        #expect(try await client.get("k")?.text == "v")
        try await Task.sleep(for: .milliseconds(5))
      }
    }
  }

  @Test("finds the leader when another one was promoted", arguments: [true, false])
  func promotion(isConfigured: Bool) async throws {
    try await withCluster(isConfigured: isConfigured) { cluster, client in
      try await client.put("k", "1")
      cluster.promote(2)
      try await client.put("k", "2")
      #expect(cluster.nodes[0][2].count("PUT", "/kv/k") == 1)
      // A read of the leader is not answered by the old one.
      cluster.promote(1)
      #expect(try await client.get("k")?.text == "2")
      #expect(cluster.nodes[0][1].count("GET", "/kv/k") == 1)
      // It is known from then on.
      let asked = cluster.nodes[0].map { $0.count("GET", "/status") }
      for number in 0..<10 { try await client.put("k", "\(number)") }
      #expect(cluster.nodes[0].map { $0.count("GET", "/status") } == asked)
    }
  }

  @Test("finds the leader when the old one is gone, and waits until there is one")
  func failover() async throws {
    try await withCluster { cluster, client in
      try await client.put("k", "1")
      cluster.promote(nil)
      try await cluster.nodes[0][0].stop()
      async let written = client.put("k", "2")
      while cluster.nodes[0][1].count("GET", "/status") < 2 {
        try await Task.sleep(for: .milliseconds(2))
      }
      cluster.promote(2)
      #expect(try await written.version == 2)
      #expect(cluster.nodes[0][2].count("PUT", "/kv/k") == 1)
    }
  }

  @Test("says that nobody leads, and what the nodes say, once the time is over")
  func nobodyLeads() async throws {
    try await withCluster({ $0.timeout = .milliseconds(300) }) { cluster, client in
      _ = try await client.topology()
      cluster.promote(nil)
      try await cluster.nodes[0][0].stop()
      let error = await #expect(throws: KVClientError.self) { try await client.put("k", "1") }
      guard case .noLeader(let shard, let reason) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(shard == "s0" && reason.contains("\(cluster.addresses[0][1]) is a replica"))
      #expect(reason.contains("\(cluster.addresses[0][0]): connection refused"))
      #expect(error?.nothingWasDone == true)
      // Reads of the leader do not become reads of others by that.
      await #expect(throws: KVClientError.self) { try await client.get("k") }
      #expect(try await client.get("k", readFrom: .any) == nil)
    }
  }

  @Test("many calls at once ask once who leads")
  func oneSearch() async throws {
    try await withCluster { cluster, client in
      try await client.put("k", "1")
      cluster.promote(1)
      await withTaskGroup(of: Bool.self) { group in
        for number in 0..<200 {
          group.addTask { (try? await client.put("k\(number)", "v")) != nil }
        }
        for await isWritten in group { #expect(isWritten) }
      }
      #expect(cluster.nodes[0][1].count("GET", "/status") <= 20)
    }
  }

  @Test("takes a new configuration, and sends keys where they have gone")
  func newConfiguration() async throws {
    try await withCluster(shards: 4, nodes: 2) { cluster, client in
      let all = cluster.addresses
      // At first there are two shards, of the first nodes.
      try cluster.configure(version: 2, Array(all[..<2]))
      for key in keys { try await client.put(key, "1") }
      #expect(cluster.misrouted.isEmpty)
      try cluster.configure(version: 3, all)
      // A node that is away is what makes it look at once; without, it looks every few seconds.
      try await cluster.nodes[1][0].stop()
      let deadline = ContinuousClock.now + .seconds(20)
      while try await client.topology().version != 3 {
        try #require(ContinuousClock.now < deadline)
        for key in keys.prefix(4) { _ = try? await client.get(key, readFrom: .any) }
        try await Task.sleep(for: .milliseconds(10))
      }
      try await cluster.nodes[1][0].start()
      for key in keys { try await client.put(key, "2") }
      #expect(cluster.nodes[2][0].requests.contains { $0.method == "PUT" })
    }
  }

  @Test("keeps to what it knows where a configuration is garbage or older")
  func badConfigurations() async throws {
    try await withCluster { cluster, client in
      try await client.put("k", "1")
      func asked() -> Int {
        cluster.nodes[0].map { $0.count("GET", "/admin/config") }.reduce(0, +)
      }
      try await cluster.nodes[0][1].stop()
      for json in [
        "", "{", #"{"version":9,"shards":[]}"#, #"{"version":9,"shards":[{"name":"x"}]}"#,
      ] {
        cluster.change { state in state.otherJSON = json }
        let before = asked()
        // Each read that meets the node that is away has the configuration asked for.
        while asked() == before {
          _ = try await client.get("k", readFrom: .replicas)
          try await Task.sleep(for: .milliseconds(5))
        }
        try await client.put("k", "2")
      }
      #expect(try await client.topology().version == 1)
    }
  }

  @Test("begins with any seed that answers, and says what is wrong with the first when none does")
  func seeds() async throws {
    let cluster = try await FakeCluster()
    let dead = try await FakeServer { _ in .init() }
    try await dead.stop()
    let garbage = try await FakeServer { _ in .init(body: "<html>") }
    let silent = try await FakeServer { _ in .init(isSilent: true) }
    let seeds = [dead.address, garbage.address, silent.address, cluster.addresses[0][1]]
    let client = KVClient(seeds: seeds)
    try await client.put("k", "v")
    #expect(cluster.nodes[0][0].count("PUT", "/kv/k") == 1)
    await client.close()
    var options = KVClientOptions()
    options.timeout = .milliseconds(200)
    let none = KVClient(seeds: [dead.address], options: options)
    await #expect(throws: KVClientError.neverSent(dead.address, .connectionRefused)) {
      try await none.get("k")
    }
    await none.close()
    let strange = KVClient(seeds: [garbage.address], options: options)
    let error = await #expect(throws: KVClientError.self) { try await strange.get("k") }
    guard case .unexpectedAnswer(garbage.address, _) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    await strange.close()
    for server in [garbage, silent] { try await server.stop() }
    try await cluster.stop()
  }

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

  @Test("reads many keys with a request a shard, in the order that was asked for")
  func many() async throws {
    try await withCluster(shards: 4, nodes: 2) { cluster, client in
      for key in keys where key.hasSuffix("1") { try await client.put(key, "value of \(key)") }
      let found = try await client.getMany(keys.map { Array($0.utf8) })
      #expect(found.map { $0?.text } == keys.map { $0.hasSuffix("1") ? "value of \($0)" : nil })
      #expect(cluster.nodes.map { $0[0].count("GET", "/kv") } == [1, 1, 1, 1])
      #expect(cluster.misrouted.isEmpty)
      #expect(try await client.getMany([]) == [])
      // Of a size that needs several requests.
      let long = (0..<20).map { "\($0)-" + String(repeating: "x", count: 1_000) }
      for key in long { try await client.put(key, key) }
      let values = try await client.getMany(long.map { Array($0.utf8) })
      #expect(values.map { $0?.text } == long)
    }
  }

  @Test("writes a batch of one shard, and refuses one of several before anything is sent")
  func batches() async throws {
    try await withCluster(shards: 4, nodes: 2) { cluster, client in
      let written = try await client.batch([
        .put(Array("party".utf8), [0xff, 0]), .put(Array("health".utf8), [], ttlSeconds: 9),
        .delete(Array("earth".utf8)),
      ])
      #expect(written.version == 1)
      let body = cluster.nodes[3][0].requests.first { $0.path == "/batch" }?.body
      #expect(
        body == """
          {"op":"put","key_base64":"cGFydHk=","value_base64":"/wA="}
          {"op":"put","key_base64":"aGVhbHRo","value_base64":"","ttl":9}
          {"op":"delete","key_base64":"ZWFydGg="}

          """)
      await #expect(throws: KVClientError.self) {
        try await client.batch([.put(Array("party".utf8), []), .delete(Array("moon".utf8))])
      }
      await #expect(throws: KVClientError.self) { try await client.batch([]) }
      #expect(cluster.nodes.joined().map { $0.count("POST", "/batch") }.reduce(0, +) == 1)
    }
  }

  @Test("lists the keys of all shards in order, page by page")
  func lists() async throws {
    try await withCluster(shards: 4, nodes: 1) { cluster, client in
      for key in keys { try await client.put(key, "v") }
      for limit in [1, 7, 1_000] {
        var (seen, after) = ([String](), [UInt8]())
        while true {
          let page = try await client.list(after: after, limit: limit)
          #expect(page.keys.count <= limit)
          seen += page.keys.map { String(decoding: $0.key, as: UTF8.self) }
          guard let next = page.next else { break }
          after = next
        }
        #expect(seen == keys.sorted())
      }
      let one = try await client.list(shard: 2)
      #expect(!one.keys.isEmpty && one.keys.count < keys.count)
      await #expect(throws: KVClientError.self) { try await client.list(shard: 4) }
      await #expect(throws: KVClientError.self) { try await client.list(limit: 0) }
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

  @Test("for one request asks the seed alone, and looks further only where that is not enough")
  func oneShot() async throws {
    for isConfigured in [true, false] {
      try await withCluster(
        isConfigured: isConfigured,
        { options in
          options.configuration = .whenNeeded
          options.retries = false
        }
      ) { cluster, client in
        try await client.put("k", "v")
        #expect(try await client.get("k")?.text == "v")
        #expect(cluster.nodes[0][0].requests.map(\.method) == ["PUT", "GET"])
        cluster.promote(1)
        try await client.put("k", "w")
        #expect(cluster.nodes[0][1].count("PUT", "/kv/k") == 1)
      }
    }
    let dead = try await FakeServer { _ in .init() }
    try await dead.stop()
    var options = KVClientOptions()
    options.configuration = .whenNeeded
    options.retries = false
    await #expect(throws: KVClientError.neverSent(dead.address, .connectionRefused)) {
      try await KVClient.with(seeds: [dead.address], options: options) {
        client throws(KVClientError) in try await client.get("k")
      }
    }
  }

  @Test("leaves no connection behind when it is closed, and then refuses")
  func closing() async throws {
    try await withCluster { cluster, client in
      try await client.put("k", "v")
      await client.close()
      while cluster.nodes[0].contains(where: { $0.openConnections > 0 }) {
        try await Task.sleep(for: .milliseconds(1))
      }
      await #expect(throws: KVClientError.neverSent(cluster.addresses[0][0], .poolClosed)) {
        try await client.put("k", "v")
      }
    }
  }
}

/// A value that a test and its servers share.
private final class Locked<Value: Sendable>: Sendable {
  let mutex: Mutex<Value>

  init(_ value: Value) { mutex = Mutex(value) }
}
