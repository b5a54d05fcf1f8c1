import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A shard that the environment names") struct AnnouncedShardTests {
    private let directory: TemporaryDirectory
    /// The leader's first.
    private let settings: [ServedNode.Settings]

    init() throws {
      let directory = try TemporaryDirectory()
      self.directory = directory
      settings = (0..<4).map { number in
        var settings = ServedNode.Settings(in: directory, data: directory.path("node-\(number)"))
        settings.environment = ["NODE_TYPE": "follower", "NODE_ID": "node \(number)"]
        return settings
      }
    }

    private func leader(
      of followers: [Int], w: Int = 1, at address: LoopbackAddress? = nil
    ) -> ServedNode.Settings {
      var settings = settings[0]
      if let address { settings.address = address }
      settings.environment = [
        "NODE_TYPE": "leader", "W": "\(w)", "NODE_ID": "first",
        "FOLLOWER_URLS": followers.map { "http://\(self.settings[$0].address)/" }
          .joined(separator: ","),
      ]
      return settings
    }

    /// Waits for an answer that is as it should be, whoever restarts meanwhile.
    private static func await(
      _ what: String, _ request: HTTPRequest, at address: LoopbackAddress,
      until holds: @Sendable @escaping (HTTPAnswer) throws -> Bool
    ) async throws {
      try await Threads.runOne {
        let deadline = ContinuousClock.now + .seconds(30)
        var last = "nothing"
        while ContinuousClock.now < deadline {
          do {
            let answer = try HTTPConnection(to: address).exchange(request)
            last = "\(answer.status) \(answer.text)"
            if try holds(answer) { return }
          } catch is ConnectionError {
            last = "no answer"
          }
          Thread.sleep(forTimeInterval: 0.01)
        }
        throw ReplicaSet.NotInTime(description: "\(what): \(last)")
      }
    }

    private static func awaitValue(
      _ value: String, of key: String, at settings: ServedNode.Settings
    ) async throws {
      try await Self.await(
        key, HTTPRequest(method: "GET", target: "/local_read/\(key)"), at: settings.address
      ) { $0.status == 200 && $0.text.contains("\"value\":\"\(value)\"") }
    }

    private static func write(_ key: String, _ value: String, at node: ServedNode) async throws {
      try await Self.await("a write", .put(key, value), at: node.address) {
        $0.status == 201 || $0.status == 200
      }
    }

    @Test("followers wait, say so, and follow the leader that names them")
    func waiting() async throws {
      let first = try await ServedNode.start(settings[1])
      try await Threads.runOne {
        func ask(_ target: String) throws -> HTTPAnswer {
          try first.connect().exchange(HTTPRequest(method: "GET", target: target))
        }
        let health = try ask("/health")
        #expect(health.status == 200 && health.text == "ok")
        let ready = try ask("/ready")
        #expect(ready.status == 503 && ready.text.hasPrefix("waiting for a leader "))
        let status = try ask("/status")
        #expect(status.status == 503 && status.text.contains(#""state":"waiting""#))
        #expect(try ask("/kv/key").status == 503)
        let bad = try first.connect().exchange(
          HTTPRequest(method: "POST", target: "/admin/announce?as=x"))
        #expect(bad.status == 400 && bad.text.contains("no announcement: "))
      }
      // The leader waits for a member that has nothing to lose, too; the second follower comes later.
      let leader = try await ServedNode.start(leader(of: [1, 2], w: 3))
      let second = try await ServedNode.start(settings[2])
      try await ReplicaSet.awaitStreaming(leader, count: 2)
      try await Self.write("key", "value", at: leader)
      for number in [1, 2] {
        try await Self.awaitValue("value", of: "key", at: settings[number])
      }
      let status = try await Threads.runOne { () throws -> String in
        let status = try ReplicaSet.status(second)
        return "\(status["node"] ?? "") \(status["name"] ?? "") \(status["role"] ?? "")"
      }
      #expect(status == "\(second.address) node 2 replica")
      let refused = try await Threads.runOne {
        try second.connect().put("key", "other").status
      }
      #expect(refused == 403)
      for node in [leader, first, second] { try await node.stop() }
    }

    @Test("nodes that are killed and started again go on, and a follower knows its shard by itself")
    func restarts() async throws {
      var followers = [
        try await ServedNode.start(settings[1]), try await ServedNode.start(settings[2]),
      ]
      var leader = try await ServedNode.start(leader(of: [1, 2], w: 2))
      try await ReplicaSet.awaitStreaming(leader, count: 2)
      try await Self.write("one", "1", at: leader)
      for number in [1, 2] { try await Self.awaitValue("1", of: "one", at: settings[number]) }
      for node in followers + [leader] { try await node.kill() }
      followers[0] = try await ServedNode.start(settings[1])
      try await Self.awaitValue("1", of: "one", at: settings[1])
      // One of them has lost its note, another leader's log is not there to be taken for its own.
      try FileManager.default.removeItem(atPath: directory.path("node-2/announced"))
      followers[1] = try await ServedNode.start(settings[2])
      leader = try await ServedNode.start(self.leader(of: [1, 2], w: 2))
      try await ReplicaSet.awaitStreaming(leader, count: 2)
      try await Self.write("two", "2", at: leader)
      for number in [1, 2] { try await Self.awaitValue("2", of: "two", at: settings[number]) }
      // The leader's directory is emptied: it fetches everything from those that it names.
      try await leader.kill()
      try FileManager.default.removeItem(atPath: directory.path("node-0"))
      try FileManager.default.removeItem(atPath: directory.path("node-1/announced"))
      try await followers[0].kill()
      followers[0] = try await ServedNode.start(settings[1])
      leader = try await ServedNode.start(self.leader(of: [1, 2], w: 2))
      try await Self.awaitValue("2", of: "two", at: settings[0])
      try await ReplicaSet.awaitStreaming(leader, count: 2)
      try await Self.write("three", "3", at: leader)
      try await ReplicaSet.catchUp(leader, followers)
      try await ReplicaSet.expectEqual([leader] + followers, "in the end")
      for node in followers + [leader] { try await node.stop() }
    }

    @Test(
      "a leader that comes back with other followers, another quorum or another address is followed"
    )
    func changes() async throws {
      var leader = try await ServedNode.start(leader(of: [1]))
      var nodes = [try await ServedNode.start(settings[1])]
      try await ReplicaSet.awaitStreaming(leader, count: 1)
      try await Self.write("one", "1", at: leader)
      try await Self.awaitValue("1", of: "one", at: settings[1])
      try await leader.stop()
      for number in [2, 3] { nodes.append(try await ServedNode.start(settings[number])) }
      let elsewhere = LoopbackAddress.fresh()
      leader = try await ServedNode.start(self.leader(of: [1, 2, 3], w: 4, at: elsewhere))
      try await ReplicaSet.awaitStreaming(leader, count: 3)
      try await Self.write("two", "2", at: leader)
      for number in [1, 2, 3] {
        try await Self.awaitValue("2", of: "two", at: settings[number])
        try await Self.await("the note", .status, at: settings[number].address) { answer in
          let text = try String(
            contentsOfFile: settings[number].data + "/announced", encoding: .utf8)
          return text.contains("&w=4&") && text.contains("\(elsewhere.port)")
        }
      }
      // Who is promoted knows all four.
      try await leader.kill()
      try await Self.await(
        "a promotion", HTTPRequest(method: "POST", target: "/admin/promote"),
        at: settings[2].address
      ) { $0.status == 200 && $0.text.contains(#""members":4"#) }
      // And tells one that has lost everything.
      try await nodes[0].kill()
      try FileManager.default.removeItem(atPath: settings[1].data)
      nodes[0] = try await ServedNode.start(settings[1])
      try await Self.awaitValue("2", of: "two", at: settings[1])
      for node in nodes { try await node.stop() }
    }

    @Test("a follower with a log takes nothing from a leader with another one")
    func strangers() async throws {
      let leader = try await ServedNode.start(leader(of: [1]))
      let follower = try await ServedNode.start(settings[1])
      try await ReplicaSet.awaitStreaming(leader, count: 1)
      try await Self.write("key", "mine", at: leader)
      try await Self.awaitValue("mine", of: "key", at: settings[1])
      // One that has a log of its own; and one that has nothing, and takes a copy of what is there.
      for (name, words) in [("own", "this node has the log "), ("copied", "this node follows ")] {
        var other = ServedNode.Settings(in: directory, data: directory.path(name))
        if name == "own" {
          let alone = try await ServedNode.start(other)
          try await Self.write("key", "theirs", at: alone)
          try await alone.stop()
        }
        other.environment = [
          "NODE_TYPE": "leader", "FOLLOWER_URLS": "\(settings[1].address)",
        ]
        let stranger = try await ServedNode.start(other)
        _ = try await stranger.process.errors {
          $0.contains("\(follower.address) does not follow this node: \(words)")
        }
        try await Self.write("key", "theirs", at: stranger)
        try await Self.write(name, "mine", at: leader)
        try await Self.awaitValue("mine", of: name, at: settings[1])
        try await Self.awaitValue("mine", of: "key", at: settings[1])
        try await stranger.stop()
      }
      // Nor does a node that a file, or nobody, has told what it is.
      try await Self.await(
        "a refusal",
        HTTPRequest(
          method: "POST",
          target:
            "/admin/announce?as=\(leader.address)&leader=a:1&replicas=\(leader.address)&w=1&r=1"),
        at: leader.address
      ) { $0.status == 409 }
      for node in [leader, follower] { try await node.stop() }
    }

    @Test("a follower that waits stops in order")
    func stops() async throws {
      let node = try await ServedNode.start(settings[1])
      try await node.stop()
    }

    @Test("a flag beats what the environment says of the shard")
    func flags() async throws {
      let set = try ReplicaSet(in: directory, replicas: 1)
      var leader = set.settings[0]
      leader.environment = ["NODE_TYPE": "follower"]
      let node = try await ServedNode.start(leader)
      try await Self.write("key", "value", at: node)
      #expect(try node.process.errorsSoFar().contains("are passed over"))
      try await node.stop()
    }

    @Test(
      "what makes no sense is refused in one line",
      arguments: [
        (["NODE_TYPE": "boss"], 64, "NODE_TYPE must be leader or follower, not \"boss\""),
        (["NODE_TYPE": ""], 64, "NODE_TYPE must be leader or follower, not \"\""),
        (["FOLLOWER_URLS": "127.0.0.1:1"], 64, "NODE_TYPE must be leader, and is not set"),
        (
          ["NODE_TYPE": "follower", "FOLLOWER_URLS": "a:1"], 64,
          "must be leader, and is \"follower\""
        ),
        (["NODE_TYPE": "leader", "FOLLOWER_URLS": "a"], 64, "FOLLOWER_URLS: bad address \"a\""),
        (["NODE_TYPE": "leader", "FOLLOWER_URLS": "a:1,"], 64, "FOLLOWER_URLS: bad address \"\""),
        (
          ["NODE_TYPE": "leader", "FOLLOWER_URLS": "https://a:1"], 64, "only http:// is understood"
        ),
        (
          ["NODE_TYPE": "leader", "FOLLOWER_URLS": "a:1,b:1,a:1"], 1,
          "FOLLOWER_URLS: duplicate address"
        ),
        (["NODE_TYPE": "leader", "FOLLOWER_URLS": "a:1", "W": "3"], 1, "a write quorum of 3"),
        (["NODE_TYPE": "leader", "W": "2"], 1, "there is one node only"),
        (
          ["NODE_TYPE": "leader", "FOLLOWER_URLS": "a:1", "W": "many"], 64,
          "W must be a whole number"
        ),
        (["NODE_TYPE": "follower", "R": "0"], 64, "R must be a whole number"),
      ] as [([String: String], Int32, String)])
    func refusals(environment: [String: String], status: Int32, words: String) async throws {
      let outcome = try await Executable.kv.run(
        ["serve", "--http-addr", "\(LoopbackAddress.fresh())"],
        environment: ServedNode.environment(environment), in: directory)
      #expect(outcome.status == status)
      #expect(outcome.errors.contains(words), "\(outcome.errors)")
      #expect(!FileManager.default.fileExists(atPath: directory.path("data")))
    }
  }
}
