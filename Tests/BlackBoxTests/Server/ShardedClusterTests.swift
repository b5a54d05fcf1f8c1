import Foundation
import Testing

extension NodeProcessTests {
  @Suite("Nodes of several shards") struct ShardedClusterTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    /// A key's bytes as they stand in a path and in a query.
    private static func encoded(_ key: [UInt8]) -> String {
      key.map { byte in
        switch byte {
        case 48...57, 65...90, 97...122: String(UnicodeScalar(byte))
        default: "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
        }
      }.joined()
    }

    @Test(
      "answer for any key alike, whichever is asked, by every method, in both lanes",
      arguments: ["on", "off"])
    func anyNode(lane: String) async throws {
      let set = try ShardSet(
        in: directory, replicas: [0, 0, 0], flags: ["--fast-lane", lane], hash: "fnv1-64-mix")
      let nodes = try await set.start().flatMap { $0 }
      try await Threads.runOne {
        let connections = try nodes.map { try $0.connect() }
        var numbers = SeededNumbers(seed: 11)
        let keys = (0..<60).map { _ in
          (0..<Int.random(in: 1...24, using: &numbers)).map { _ in
            UInt8.random(in: 0...255, using: &numbers)
          }
        }
        var model: [[UInt8]: String] = [:]
        for step in 0..<3_000 {
          let key = keys.randomElement(using: &numbers)!
          let text = Self.encoded(key)
          let connection = connections.randomElement(using: &numbers)!
          let value = "value \(step)"
          func ask(_ method: String, _ target: String, _ body: String? = nil) throws -> HTTPAnswer {
            try connection.exchange(
              HTTPRequest(method: method, target: target, body: body.map { Array($0.utf8) }))
          }
          switch Int.random(in: 0..<9, using: &numbers) {
          case 0:
            let answer = try ask("PUT", "/kv/\(text)", value)
            #expect(answer.status == (model[key] == nil ? 201 : 200))
            model[key] = value
          case 1:
            let answer = try ask("GET", "/set?key=\(text)&value=\(Self.encoded(Array(value.utf8)))")
            #expect(answer.status == 200)
            model[key] = value
          case 2:
            let form = "key=\(text)&value=\(Self.encoded(Array(value.utf8)))"
            #expect(try ask("POST", "/set", form).status == 200)
            model[key] = value
          case 3:
            let status = try ask("DELETE", "/kv/\(text)").status
            #expect(status == (model[key] == nil ? 404 : 204))
            model[key] = nil
          case 4:
            let status = try ask("GET", "/delete?key=\(text)").status
            #expect(status == (model[key] == nil ? 404 : 200))
            model[key] = nil
          case 5:
            let answer = try ask("GET", "/get?key=\(text)")
            #expect(answer.status == (model[key] == nil ? 404 : 200))
            #expect(answer.text.contains("Value = \"\(model[key] ?? "")\""))
          case 6:
            let answer = try ask("GET", "/get/\(text)")
            #expect(answer.status == (model[key] == nil ? 404 : 200))
            if let value = model[key] { #expect(answer.text.contains("\"value\":\"\(value)\"")) }
          case 7:
            let answer = try connection.exchange(
              HTTPRequest(
                method: "PUT", target: "/kv/\(text)", headers: [("If-None-Match", "*")],
                body: Array(value.utf8)))
            #expect(answer.status == (model[key] == nil ? 201 : 412))
            if model[key] == nil { model[key] = value }
          default:
            let answer = try ask("GET", "/kv/\(text)")
            #expect(answer.status == (model[key] == nil ? 404 : 200))
            if let value = model[key] { #expect(answer.text == value) }
          }
        }
        // Each key is in one place only.
        let counts = try nodes.map { try ReplicaSet.status($0)["keys"] as? Int ?? -1 }
        #expect(counts.reduce(0, +) == model.count && !counts.contains(0), "\(counts)")
      }
      for node in nodes { try await node.stop() }
    }

    /// Asks for a key through a node until it is as wanted.
    private static func await<Value: Equatable & Sendable>(
      _ wanted: Value, _ moment: String, _ find: @escaping @Sendable () throws -> Value
    ) async throws {
      try await Threads.runOne {
        let deadline = ContinuousClock.now + .seconds(20)
        while true {
          let found = try find()
          if found == wanted { return }
          try #require(ContinuousClock.now < deadline, "\(moment): \(found)")
          Thread.sleep(forTimeInterval: 0.02)
        }
      }
    }

    private static func promote(_ node: ServedNode) async throws {
      try await Threads.runOne {
        let answer = try node.connect().exchange(
          HTTPRequest(method: "POST", target: "/admin/promote"))
        #expect(answer.status == 200, "\(answer.text)")
      }
    }

    @Test(
      "find the leader that a shard has got, when the one before is gone, silent, or a replica now",
      arguments: ["on", "off"])
    func promotedLeader(lane: String) async throws {
      let set = try ShardSet(in: directory, replicas: [0, 1], flags: ["--fast-lane", lane])
      var nodes = try await set.start()
      let keys = ShardSet.keys(of: 1, count: 2, 40)
      let entry = nodes[0][0]
      // Connections that are kept, as clients do.
      try await Threads.runOne {
        let connection = try entry.connect()
        for key in keys { #expect(try connection.put(key, "v").status == 201) }
      }
      try await ReplicaSet.catchUp(nodes[1][0], [nodes[1][1]])
      // Gone.
      try await nodes[1][0].kill()
      let lost = try await Threads.runOne { try entry.connect().put(keys[0], "w") }
      #expect(lost.status == 502 && lost.text.contains("\(set.settings[1][0].address)"))
      #expect(try await Threads.runOne { try entry.connect().get(keys[0]).status } == 502)
      try await Self.promote(nodes[1][1])
      try await Threads.runOne {
        let connection = try entry.connect()
        for key in keys { #expect(try connection.put(key, "w").status == 200) }
        for key in keys { #expect(try connection.get(key).text == "w") }
      }
      // A replica now: it comes back as one, is promoted, and the other one lives on.
      nodes[1][0] = try await set.start(1, 0)
      try await Self.await("replica", "the old leader") { [node = nodes[1][0]] in
        try ReplicaSet.status(node)["role"] as? String
      }
      try await Self.promote(nodes[1][0])
      try await Threads.runOne {
        let connection = try entry.connect()
        for key in keys { #expect(try connection.put(key, "x").status == 200) }
        for key in keys { #expect(try connection.get(key).text == "x") }
      }
      // Silent.
      try await ReplicaSet.catchUp(nodes[1][0], [nodes[1][1]])
      nodes[1][0].process.send(SIGSTOP)
      try await Self.promote(nodes[1][1])
      let read = try await Threads.runOne { try entry.connect().get(keys[0]).text }
      #expect(read == "x")
      try await Threads.runOne {
        let connection = try entry.connect()
        for key in keys { #expect(try connection.put(key, "y").status == 200) }
      }
      nodes[1][0].process.send(SIGCONT)
      try await Self.await("replica", "the silent leader") { [node = nodes[1][0]] in
        try ReplicaSet.status(node)["role"] as? String
      }
      try await Threads.runOne {
        let connection = try entry.connect()
        for key in keys { #expect(try connection.get(key).text == "y") }
      }
      for node in nodes.flatMap({ $0 }) { try await node.stop() }
    }

    @Test("lose nothing that was acknowledged while their leaders are killed and come back")
    func killedLeaders() async throws {
      let set = try ShardSet(in: directory, replicas: [0, 0])
      let nodes = try await set.start()
      let writers = try await Threads.run(4) { number in
        var acknowledged: [String: Int] = [:]
        var next = 0
        let deadline = ContinuousClock.now + .seconds(6)
        var connection: HTTPConnection?
        while ContinuousClock.now < deadline {
          next += 1
          let key = "w\(number)-\(next % 50)"
          do {
            let open = try connection ?? nodes[0][0].connect()
            connection = open
            let answer = try open.put(key, "\(next)")
            if answer.status < 300 { acknowledged[key] = next }
            #expect([200, 201, 502, 503].contains(answer.status), "\(answer.status)")
          } catch {
            connection = nil
          }
        }
        return acknowledged
      } meanwhile: {
        var victim = nodes[1][0]
        for _ in 0..<5 {
          try await Task.sleep(for: .milliseconds(700))
          try await victim.kill()
          try await Task.sleep(for: .milliseconds(200))
          victim = try await set.start(1)
        }
        return victim
      }
      let (found, other) = writers
      try await Threads.runOne {
        let connection = try nodes[0][0].connect()
        for acknowledged in found {
          #expect(acknowledged.count == 50)
          for (key, value) in acknowledged {
            // A later one whose outcome is not known may have been done.
            let text = try connection.get(key).text
            let stored = try #require(Int(text), "\(key)")
            #expect(stored >= value && stored % 50 == value % 50, "\(key): \(stored), \(value)")
          }
        }
      }
      try await nodes[0][0].stop()
      try await other.stop()
    }
  }
}
