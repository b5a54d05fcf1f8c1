import Bench
import Client
import NIOCore
import Sharding
import Synchronization
import Testing

/// Whole runs against a server whose delays, failures and stale answers are known.
struct BenchRunTests {
  private func parameters(
    _ node: FakeNode, writeRatio: Double = 0, operations: UInt64? = nil
  ) -> BenchParameters {
    var parameters = BenchParameters(
      targets: [node.address], mix: WorkloadMix(writeRatio: writeRatio))
    parameters.keys = 10
    parameters.connections = 1
    parameters.operations = operations
    parameters.warmupSeconds = 0
    parameters.load = .never
    return parameters
  }

  private func run(_ parameters: BenchParameters) async throws -> BenchResult {
    try await BenchRun(parameters, descriptorsMax: 1_024, showsProgress: false).run()
  }

  @Test("Every request is counted once, and none is faster than the server")
  func delays() async throws {
    let node = try await FakeNode { _ in .init(delay: .milliseconds(20)) }
    defer { node.die() }
    var parameters = parameters(node, operations: 41)
    parameters.connections = 3
    let measured = try await run(parameters).measured
    #expect(measured.reads.count == 41)
    #expect(node.count == 41)
    #expect(measured.reads.minimum >= 20_000_000)
    #expect(measured.clientReads.map(\.count).reduce(0, +) == 41)
    #expect(measured.failed == 0)
  }

  @Test("Failures are counted by their kinds, apart from latencies")
  func failures() async throws {
    let node = try await FakeNode { request in
      if request.number.isMultiple(of: 25) { return .init(isDrop: true) }
      if request.number.isMultiple(of: 10) { return .init(status: 503, version: nil) }
      return .init(closes: request.number.isMultiple(of: 33))
    }
    defer { node.die() }
    let measured = try await run(parameters(node, writeRatio: 0.5, operations: 500)).measured
    let numbers = 1...500
    let dropped = numbers.count { $0.isMultiple(of: 25) }
    let refused = numbers.count { $0.isMultiple(of: 10) && !$0.isMultiple(of: 25) }
    #expect(node.count == 500)
    #expect(measured.failureCounts == [.lost: UInt64(dropped), .status(503): UInt64(refused)])
    #expect(measured.answered == UInt64(500 - dropped - refused))
    #expect(measured.connectionsLost == UInt64(dropped))
    #expect(measured.reads.count > 150 && measured.writes.count > 150)
  }

  @Test("Stale answers are reported exactly, absent keys among them")
  func staleness() async throws {
    struct Store {
      var versions: [String: UInt64] = [:]
      var last: UInt64 = 0
      var reads: UInt64 = 0
      var stale: UInt64 = 0
    }
    let store = Locked(Store())
    let node = try await FakeNode { request in
      store.mutex.withLock { store in
        if request.isWrite {
          store.last += 1
          store.versions[request.key] = store.last
          return .init(version: store.last)
        }
        store.reads += 1
        guard let version = store.versions[request.key] else {
          return .init(status: 404, version: nil)
        }
        guard store.reads.isMultiple(of: 7) else { return .init(version: version) }
        store.stale += 1
        return store.reads.isMultiple(of: 2)
          ? .init(status: 404, version: nil) : .init(version: version - 1)
      }
    }
    defer { node.die() }
    var parameters = parameters(node, writeRatio: 0.3, operations: 2_000)
    parameters.checksStaleness = true
    let measured = try await run(parameters).measured
    let known = store.mutex.withLock { $0 }
    #expect(measured.judgedReads == known.reads)
    #expect(measured.staleReads == known.stale)
    #expect(known.stale > 150)
    #expect(measured.concurrentReads == 0)
    #expect(measured.intervals.count > 1_000)
  }

  @Test("A version of a later epoch is newer, whatever its number")
  func epochs() async throws {
    let node = try await FakeNode { request in
      // Writes count down, each in an epoch of its own; reads return the last of them.
      let epoch = request.isWrite ? request.number : request.number - 1
      return .init(version: UInt64(10_000 - epoch), epoch: epoch)
    }
    defer { node.die() }
    var parameters = parameters(node, writeRatio: 0.5, operations: 400)
    parameters.keys = 1
    parameters.checksStaleness = true
    let measured = try await run(parameters).measured
    #expect(measured.judgedReads > 100)
    #expect(measured.staleReads == 0)
  }

  @Test("Of a leaderless set stale answers are reported exactly, and siblings apart")
  func leaderlessStaleness() async throws {
    struct Key {
      /// Of each of the two nodes, the number of its newest write; and those of the write before.
      var seen = [UInt64](repeating: 0, count: 2)
      var before = [UInt64](repeating: 0, count: 2)
    }
    struct Store {
      var keys: [String: Key] = [:]
      var last: UInt64 = 0
      var (reads, stale, siblings): (UInt64, UInt64, UInt64) = (0, 0, 0)
    }
    let store = Locked(Store())
    func node(_ number: Int) async throws -> FakeNode {
      try await FakeNode(role: "leaderless") { request in
        store.mutex.withLock { store in
          var key = store.keys[request.key] ?? Key()
          func context(_ seen: [UInt64]) -> String {
            seen.enumerated().filter { $0.element > 0 }
              .map { "000000000000000\($0.offset):\($0.element)" }.joined(separator: ",")
          }
          if request.isWrite {
            store.last += 1
            key.before = key.seen
            key.seen[number] = store.last
            store.keys[request.key] = key
            // Versions say nothing here.
            return .init(version: 1, context: context(key.seen))
          }
          store.reads += 1
          guard key.seen != [0, 0] else { return .init(status: 404, version: nil) }
          if store.reads.isMultiple(of: 5) {
            store.siblings += 1
            return .init(status: 300, version: 1, context: context(key.seen))
          }
          guard store.reads.isMultiple(of: 7) else {
            return .init(version: 1, context: context(key.seen))
          }
          store.stale += 1
          return key.before == [0, 0]
            ? .init(status: 404, version: nil) : .init(version: 1, context: context(key.before))
        }
      }
    }
    let nodes = [try await node(0), try await node(1)]
    defer { for node in nodes { node.die() } }
    var parameters = parameters(nodes[0], writeRatio: 0.3, operations: 2_000)
    parameters.targets = nodes.map(\.address)
    parameters.checksStaleness = true
    let result = try await run(parameters)
    let known = store.mutex.withLock { $0 }
    #expect(result.targets.mode == .leaderless && result.measured.failed == 0)
    #expect(nodes.allSatisfy { $0.count > 500 })
    #expect(result.measured.judgedReads == known.reads)
    #expect(result.measured.staleReads == known.stale && known.stale > 100)
    #expect(result.measured.siblingReads == known.siblings && known.siblings > 150)
    #expect(result.measured.concurrentReads == 0)
  }

  @Test("Siblings are no answer of a leader, and a leaderless set's answers need their contexts")
  func missingContexts() async throws {
    for (role, kind) in [("leader", FailureKind.status(300)), ("leaderless", .unversioned)] {
      let node = try await FakeNode(role: role) { request in
        .init(status: request.isWrite ? 200 : 300)
      }
      defer { node.die() }
      var parameters = parameters(node, writeRatio: 0.5, operations: 40)
      parameters.checksStaleness = true
      let measured = try await run(parameters).measured
      #expect(measured.failureCounts[kind] ?? 0 > 5, "\(measured.failureCounts)")
      #expect(measured.siblingReads == 0 && measured.reads.count == 0)
    }
  }

  @Test("An answer without a version is a failure where staleness is asked for")
  func withoutVersions() async throws {
    let node = try await FakeNode { _ in .init(version: nil) }
    defer { node.die() }
    var parameters = parameters(node, writeRatio: 0.5, operations: 20)
    parameters.checksStaleness = true
    let result = try await run(parameters)
    #expect(result.measured.failureCounts == [.unversioned: 20])
    #expect(result.failure == "no request succeeded: answer without a version 20")
  }

  /// Stops answering for 100 ms, once, when a request of that number comes.
  private func stallingNode(at number: Int) async throws -> FakeNode {
    let end = Locked(NIODeadline?.none)
    return try await FakeNode { request in
      end.mutex.withLock { end in
        if request.number == number { end = .now() + .milliseconds(100) }
        guard let end else { return .init() }
        return .init(delay: max(.zero, end - .now()))
      }
    }
  }

  @Test("A stall of 100 ms is in the latencies of all requests that were due meanwhile")
  func stallInOpenLoop() async throws {
    let node = try await stallingNode(at: 300)
    defer { node.die() }
    var parameters = parameters(node)
    parameters.connections = 8
    parameters.operationsPerSecond = 1_000
    parameters.durationSeconds = 1
    let measured = try await run(parameters).measured
    // Everything that was due is accounted for.
    #expect(measured.reads.count + measured.unsent + measured.failed == 1_000)
    // Of those due in the first half of the stall each waits for the second half at least.
    let slow = measured.reads.histogram.count(within: 50_000_000...86_400_000_000_000)
    #expect(slow >= 49)
    #expect(measured.reads.percentile(99.9) >= 50_000_000)
    #expect(measured.reads.maximum >= 99_000_000)
    #expect(measured.behindMaxNanoseconds >= 50_000_000)
  }

  @Test("More than a server can take is counted as waiting and as never sent")
  func overload() async throws {
    let node = try await FakeNode { _ in .init(delay: .milliseconds(20)) }
    defer { node.die() }
    var parameters = parameters(node)
    parameters.operationsPerSecond = 1_000
    parameters.warmupSeconds = 0.2
    parameters.durationSeconds = 0.5
    parameters.timeoutSeconds = 1
    let measured = try await run(parameters).measured
    #expect(measured.reads.count + measured.unsent + measured.failed == 500)
    // One at a time for 0.5 s, and a second more to catch up.
    #expect(measured.reads.count > 0 && measured.unsent >= 500 - 75 - 1)
    // Those that were answered behind the end are no throughput.
    #expect(measured.inTimeReads < measured.reads.count)
  }

  @Test("In a closed loop only the requests under way see a stall")
  func stallInClosedLoop() async throws {
    let node = try await stallingNode(at: 300)
    defer { node.die() }
    let measured = try await run(parameters(node, operations: 1_000)).measured
    #expect(measured.reads.count == 1_000)
    #expect(measured.reads.maximum >= 99_000_000)
  }

  @Test("A server that dies is reported at the end of the time")
  func death() async throws {
    let node = Locked(FakeNode?.none)
    let fake = try await FakeNode { request in
      if request.number == 101 { node.mutex.withLock { $0?.die() } }
      return .init(isDrop: request.number > 100)
    }
    node.mutex.withLock { $0 = fake }
    var parameters = parameters(fake)
    parameters.durationSeconds = 2
    parameters.connections = 4
    let result = try await run(parameters)
    #expect(result.measured.reads.count == 100)
    #expect(result.measured.failureCounts[.lost] ?? 0 > 0)
    #expect(
      result.measured.failureCounts[.connect] ?? 0 > 0, "\(result.measured.failureCounts)")
    #expect(result.failure == nil)
    node.mutex.withLock { $0 = nil }
  }

  @Test("A run by the number of requests is given up when nothing answers any more")
  func givingUp() async throws {
    let node = try await FakeNode { request in
      request.number > 50 ? .init(delay: .seconds(600)) : .init()
    }
    defer { node.die() }
    var parameters = parameters(node, operations: 1_000_000)
    parameters.timeoutSeconds = 1
    let result = try await run(parameters)
    #expect(result.measured.gaveUp)
    #expect(result.measured.reads.count == 50)
    #expect(result.measured.failureCounts[.timeout] ?? 0 > 0)
    #expect(result.measured.failed + result.measured.unsent == 999_950)
    #expect(result.failure?.hasPrefix("gave up") == true)
  }

  @Test("Where nothing listens there is no run")
  func nobody() async throws {
    let node = try await FakeNode { _ in .init() }
    try await node.gone()
    await #expect(throws: BenchError.self) { _ = try await run(parameters(node, operations: 1)) }
  }

  @Test("A client has as many requests under way as it may, and no more")
  func pipelining() async throws {
    let node = try await FakeNode { _ in .init(delay: .milliseconds(5)) }
    defer { node.die() }
    var parameters = parameters(node, writeRatio: 0.5, operations: 400)
    parameters.connections = 2
    parameters.pipeline = 8
    parameters.threads = 2
    let measured = try await run(parameters).measured
    #expect(measured.answered == 400)
    #expect(node.count == 400)
    #expect(node.underWayMax == 8)
    #expect(measured.connectionsOpened == 2)
  }

  @Test("A read-modify-write writes the key that it has read")
  func readModifyWrite() async throws {
    let requests = Locked([String]())
    let node = try await FakeNode { request in
      requests.mutex.withLock { $0.append("\(request.method) \(request.key)") }
      return .init()
    }
    defer { node.die() }
    var parameters = parameters(node, operations: 50)
    parameters.mix = WorkloadMix(writeRatio: 0)
    (parameters.mix.reads, parameters.mix.readModifyWrites) = (0, 1)
    let measured = try await run(parameters).measured
    let seen = requests.mutex.withLock { $0 }
    #expect(seen.count == 100)
    for index in stride(from: 0, to: seen.count, by: 2) {
      #expect(seen[index].hasPrefix("GET "))
      #expect(seen[index + 1] == "PUT " + seen[index].dropFirst(4))
    }
    #expect(measured.readModifyWrites.count == 50)
    #expect(measured.readModifyWrites.minimum >= measured.reads.minimum)
  }

  @Test("The keys of several shards go to their nodes")
  func shards() async throws {
    let keys = Locked([Set<String>(), Set<String>()])
    func node(_ shard: Int) async throws -> FakeNode {
      try await FakeNode(shard: shard, shards: 2) { request in
        keys.mutex.withLock { _ = $0[shard].insert(request.key) }
        return .init()
      }
    }
    let nodes = [try await node(0), try await node(1)]
    defer { for node in nodes { node.die() } }
    var parameters = parameters(nodes[0], writeRatio: 0.5, operations: 500)
    parameters.targets = nodes.map(\.address)
    parameters.keys = 40
    let measured = try await run(parameters).measured
    #expect(measured.answered == 500)
    let seen = keys.mutex.withLock { $0 }
    #expect(seen[0].isDisjoint(with: seen[1]))
    #expect(seen[0].count + seen[1].count == 40)
  }

  /// Two shards of a leader each, of which the first alone is a target.
  private func cluster(
    _ keys: Locked<[Set<String>]>
  ) async throws -> (nodes: [FakeNode], targets: [NodeAddress]) {
    var nodes: [FakeNode] = []
    for shard in 0..<2 {
      nodes.append(
        try await FakeNode(shard: shard, shards: 2) { request in
          keys.mutex.withLock { _ = $0[shard].insert(request.key) }
          return .init()
        })
    }
    let shards = nodes.enumerated().map { index, node in
      "{\"name\":\"s\(index)\",\"index\":\(index),\"leader\":\"\(node.address)\"}"
    }
    for node in nodes {
      node.configure("{\"hash\":\"fnv1-64-mix\",\"shards\":[\(shards.joined(separator: ","))]}")
    }
    return (nodes, [nodes[0].address])
  }

  @Test("One target of a cluster is enough: keys go to the shards that its configuration says")
  func configuration() async throws {
    let keys = Locked([Set<String>(), Set<String>()])
    let (nodes, targets) = try await cluster(keys)
    defer { for node in nodes { node.die() } }
    var parameters = parameters(nodes[0], writeRatio: 0.5, operations: 500)
    parameters.targets = targets
    parameters.keys = 40
    let result = try await run(parameters)
    #expect(result.measured.answered == 500 && result.targets.routesByKey)
    let seen = keys.mutex.withLock { $0 }
    #expect(seen[0].isDisjoint(with: seen[1]) && !seen[0].isEmpty && !seen[1].isEmpty)
    #expect(seen[0].count + seen[1].count == 40)
    for (shard, keys) in seen.enumerated() {
      #expect(
        keys.allSatisfy { key in
          Array(key.utf8).withUnsafeBytes { ShardHash.fnv1Mixed.shard(of: $0, count: 2) } == shard
        })
    }
  }

  @Test(
    "A promotion is followed: what fails until another leader is found is counted, and nothing else fails",
    arguments: [false, true])
  func promotion(isLost: Bool) async throws {
    let nodes = Locked<[FakeNode]>([])
    let leader = try await FakeNode { request in
      if request.number == 300 {
        let nodes = nodes.mutex.withLock { $0 }
        nodes[0].become("replica", epoch: 2)
        nodes[1].become("leader", epoch: 2)
        if isLost { nodes[0].die() }
      }
      return .init(
        status: request.number < 300 ? 200 : 403, isDrop: isLost && request.number >= 300)
    }
    let next = try await FakeNode(role: "replica") { _ in .init(epoch: 2) }
    defer { for node in [leader, next] { node.die() } }
    nodes.mutex.withLock { $0 = [leader, next] }
    leader.configure(
      """
      {"shards":[{"name":"s","index":0,"leader":"\(leader.address)","replicas":["\(next.address)"]}]}
      """)
    var parameters = parameters(leader, writeRatio: 0.5, operations: 30_000)
    parameters.connections = 2
    let result = try await run(parameters)
    let measured = result.measured
    #expect(measured.answered + measured.failed == 30_000 && measured.failed > 0)
    // What was answered when the connections were closed may not have arrived.
    #expect(measured.answered <= UInt64(299 + next.count) && next.count > 1_000)
    #expect(measured.answered >= UInt64(isLost ? next.count : 299 + next.count))
    let allowed: Set<FailureKind> = isLost ? [.lost, .connect] : [.status(403)]
    #expect(allowed.isSuperset(of: measured.failureCounts.keys), "\(measured.failureCounts)")
    #expect(measured.leaderMoves == 1)
    #expect(TextReport(result).text.contains("another node was found to lead a shard once"))
    nodes.mutex.withLock { $0 = [] }
  }

  @Test("By way of the entry every request goes to the target, which hands on what is another's")
  func entry() async throws {
    let keys = Locked([Set<String>(), Set<String>()])
    let (nodes, targets) = try await cluster(keys)
    defer { for node in nodes { node.die() } }
    var parameters = parameters(nodes[0], writeRatio: 0.5, operations: 300)
    parameters.targets = targets
    parameters.route = .entry
    let result = try await run(parameters)
    #expect(result.measured.answered == 300 && result.targets.isCluster)
    #expect(nodes[0].count == 300 && nodes[1].count == 0)
    #expect(TextReport(result).text.contains("entry: every request to a target"))
  }

  @Test("Reads go to the replicas when they are asked for, and writes to the leader")
  func replicas() async throws {
    let replica = try await FakeNode(role: "replica") { request in
      .init(status: request.isWrite ? 403 : 200)
    }
    let leader = try await FakeNode(replicas: [replica.address]) { request in
      .init(status: request.isWrite ? 200 : 500)
    }
    defer {
      leader.die()
      replica.die()
    }
    var parameters = parameters(leader, writeRatio: 0.5, operations: 200)
    parameters.readFrom = .replicas
    let measured = try await run(parameters).measured
    #expect(measured.failed == 0)
    #expect(replica.count == Int(measured.reads.count))
    #expect(leader.count == Int(measured.writes.count))
  }

  @Test("Keys are stored before a run where they are absent, each once")
  func loading() async throws {
    let lines = Locked([String]())
    let node = try await FakeNode { request in
      if request.target == "/batch" {
        lines.mutex.withLock { $0 += request.body.split(separator: "\n").map { String($0) } }
        return .init()
      }
      return lines.mutex.withLock { $0.isEmpty } ? .init(status: 404, version: nil) : .init()
    }
    defer { node.die() }
    var parameters = parameters(node, operations: 10)
    parameters.keys = 2_500
    parameters.valueBytes = 5
    parameters.load = .auto
    let first = try await run(parameters)
    #expect(first.loading?.keys == 2_500)
    let stored = lines.mutex.withLock { $0 }
    #expect(Set(stored).count == 2_500 && stored.count == 2_500)
    #expect(stored.contains { $0.hasPrefix(#"{"op":"put","key":"key:000000002499","value":""#) })
    // They are there now.
    #expect(try await run(parameters).loading == nil)
    #expect(lines.mutex.withLock { $0.count } == 2_500)
  }
}

/// A value that a test and its server share.
final class Locked<Value: Sendable>: Sendable {
  let mutex: Mutex<Value>

  init(_ value: Value) { mutex = Mutex(value) }
}
