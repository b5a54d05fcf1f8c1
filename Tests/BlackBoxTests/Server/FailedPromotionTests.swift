import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A promotion that comes to nothing") struct FailedPromotionTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func start(_ replicas: Int) async throws -> (ReplicaSet, [ServedNode]) {
      let set = try ReplicaSet(in: directory, replicas: replicas, flags: ["-w", "2"])
      let nodes = try await withThrowingTaskGroup(of: (Int, ServedNode).self) { group in
        for number in 0...replicas { group.addTask { (number, try await set.start(number)) } }
        var nodes: [Int: ServedNode] = [:]
        for try await (number, node) in group { nodes[number] = node }
        return (0...replicas).map { nodes[$0]! }
      }
      try await ReplicaSet.awaitStreaming(nodes[0], count: replicas)
      return (set, nodes)
    }

    private static func put(_ key: String, _ node: ServedNode) async throws -> Int {
      try await Threads.runOne { try node.connect().put(key, "value of \(key)").status }
    }

    private static func post(_ target: String, _ node: ServedNode) async throws -> HTTPAnswer {
      try await Threads.runOne {
        try HTTPConnection(to: node.address, timeoutSeconds: 30).exchange(
          HTTPRequest(method: "POST", target: target))
      }
    }

    private struct Status: Sendable {
      let isLeader: Bool
      let epoch: Int
      let origin: String
      let promised: String?
    }

    private static func status(_ node: ServedNode) async throws -> Status {
      try await Threads.runOne {
        let status = try ReplicaSet.status(node)
        return Status(
          isLeader: status["role"] as? String == "leader",
          epoch: try #require(status["epoch"] as? Int),
          origin: try #require(status["origin"] as? String),
          promised: status["promised"] as? String)
      }
    }

    private static func awaitLeader(_ node: ServedNode, above epoch: Int) async throws {
      let deadline = ContinuousClock.now + .seconds(60)
      while true {
        let status = try await status(node)
        if status.isLeader, status.epoch > epoch { return }
        try #require(ContinuousClock.now < deadline, "\(status)")
        try await Task.sleep(for: .milliseconds(20))
      }
    }

    @Test("behind the promises of all but one leaves nobody waiting: the old leader leads again")
    func formerLeader() async throws {
      let (_, nodes) = try await start(2)
      #expect(try await Self.put("a", nodes[0]) == 201)
      let origin = try await Self.status(nodes[0]).origin
      // As if a node had asked that nobody hears of any more.
      for node in nodes {
        let promised = try await Self.post(
          "/admin/promise?epoch=7-00000000000000aa&origin=\(origin)", node)
        #expect(promised.status == 200, "\(promised)")
      }
      #expect(try await Self.put("b", nodes[0]) == 403)
      try await Self.awaitLeader(nodes[0], above: 7)
      try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
      #expect(try await Self.put("b", nodes[0]) == 201)
      try await ReplicaSet.catchUp(nodes[0], [nodes[1], nodes[2]])
      try await ReplicaSet.expectEqual(nodes, "behind it")
      for node in nodes { try await node.stop() }
    }

    @Test("leaves no member that cannot follow: the leader goes on above what that has promised")
    func member() async throws {
      let (_, nodes) = try await start(2)
      let origin = try await Self.status(nodes[0]).origin
      let promised = try await Self.post(
        "/admin/promise?epoch=7-00000000000000aa&origin=\(origin)", nodes[2])
      #expect(promised.status == 200, "\(promised)")
      #expect(try await Self.status(nodes[2]).promised == "7-00000000000000aa")
      try await Self.awaitLeader(nodes[0], above: 7)
      try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
      #expect(try await Self.put("a", nodes[0]) == 201)
      try await ReplicaSet.catchUp(nodes[0], [nodes[1], nodes[2]])
      try await ReplicaSet.expectEqual(nodes, "behind it")
      for node in nodes { try await node.stop() }
    }

    @Test("without the promise of the leader that hands over, where that does not give it")
    func neededPromise() async throws {
      let (_, nodes) = try await start(2)
      #expect(try await Self.put("a", nodes[0]) == 201)
      try await ReplicaSet.catchUp(nodes[0], [nodes[1], nodes[2]])
      // The two others are enough to lead, and not to take over what a leader hands over.
      nodes[0].process.send(SIGSTOP)
      let from = try #require(
        "\(nodes[0].address)".addingPercentEncoding(withAllowedCharacters: .alphanumerics))
      let refused = try await Self.post("/admin/promote?from=\(from)", nodes[1])
      nodes[0].process.send(SIGCONT)
      #expect(
        refused.status == 409 && refused.text.contains("has not promised to make room"),
        "\(refused)")
      // Whoever leads in the end, it is one.
      let deadline = ContinuousClock.now + .seconds(60)
      while true {
        var leading: [Status] = []
        for node in nodes { leading.append(try await Self.status(node)) }
        leading.removeAll { !$0.isLeader }
        if leading.count == 1, leading[0].epoch > 1 { break }
        try #require(ContinuousClock.now < deadline, "nobody leads")
        try await Task.sleep(for: .milliseconds(20))
      }
      for node in nodes { try await node.stop() }
    }
  }
}
