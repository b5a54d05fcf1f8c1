import KVClient
import NIOCore
import Testing

/// A client against servers that answer as nodes do.
@Suite("A client of a cluster", .timeLimit(.minutes(1)))
struct KVClientTests {
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
      try await client.knowsNoConnection()
      let outcome = Locked("it goes on")
      let writing = Task {
        do {
          let written = try await client.put("k", "2")
          outcome.mutex.withLock { $0 = "\(written)" }
          return written
        } catch {
          outcome.mutex.withLock { $0 = "\(error)" }
          throw error
        }
      }
      let deadline = ContinuousClock.now + .seconds(30)
      while cluster.nodes[0][1].count("GET", "/status") < 2 {
        try #require(
          ContinuousClock.now < deadline,
          "\(outcome.mutex.withLock { $0 }) \(cluster.nodes[0][1].requests.map(\.target))")
        try await Task.sleep(for: .milliseconds(2))
      }
      cluster.promote(2)
      let written = try await writing.value
      #expect(written.version == 2)
      #expect(cluster.nodes[0][2].count("PUT", "/kv/k") == 1)
    }
  }

  @Test("says that nobody leads, and what the nodes say, once the time is over")
  func nobodyLeads() async throws {
    try await withCluster({ $0.timeout = .seconds(2) }) { cluster, client in
      _ = try await client.topology()
      cluster.promote(nil)
      try await cluster.nodes[0][0].stop()
      try await client.knowsNoConnection()
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
    options.timeout = .seconds(1)
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
    let error = await #expect(throws: KVClientError.self) { try await Self.ask(dead.address) }
    #expect(error == .neverSent(dead.address, .connectionRefused))
  }

  /// As a command does that makes one request.
  private static func ask(_ node: NodeAddress) async throws(KVClientError) -> KVEntry? {
    var options = KVClientOptions()
    options.configuration = .whenNeeded
    options.retries = false
    return try await KVClient.with(seeds: [node], options: options) {
      (client) throws(KVClientError) in try await client.get("k")
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
