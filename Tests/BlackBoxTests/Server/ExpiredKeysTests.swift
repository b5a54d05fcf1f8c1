import Foundation
import Testing

extension NodeProcessTests {
  @Suite("Keys of a node that expire") struct ExpiredKeysTests {
    private struct Timeout: Error {}

    /// What `/status` says, as far as it is about keys.
    private struct State: Equatable {
      var keys: Int?
      var expiringKeys: Int?
      var digest: String?
    }

    private static func state(_ connection: HTTPConnection) throws -> State {
      let members = try connection.exchange(.status).members()
      return State(
        keys: members["keys"] as? Int, expiringKeys: members["expiring_keys"] as? Int,
        digest: members["digest"] as? String)
    }

    private static func put(_ key: String, seconds: Int) -> HTTPRequest {
      HTTPRequest(method: "PUT", target: "/kv/\(key)?ttl=\(seconds)", body: Array("v".utf8))
    }

    /// Asks until it is so, which it has plenty of time for.
    private static func wait(until isSo: () throws -> Bool) throws {
      for _ in 0..<3_000 {
        if try isSo() { return }
        Thread.sleep(forTimeInterval: 0.01)
      }
      throw Timeout()
    }

    @Test(
      "are gone, and stay gone when it is killed", arguments: ["on", "off"],
      ["always", "none"])
    func killedBehind(lane: String, sync: String) async throws {
      let directory = try TemporaryDirectory()
      var settings = ServedNode.Settings(in: directory)
      settings.flags += ["--fast-lane", lane, "--sync", sync]
      let node = try await ServedNode.start(settings)
      let before = try await Threads.runOne {
        let connection = try node.connect()
        for number in 0..<50 {
          let key = "gone-\(number)"
          guard try connection.exchange(Self.put(key, seconds: 1)).status == 201 else {
            throw ConnectionError.malformed(key)
          }
        }
        _ = try connection.exchange(Self.put("later", seconds: 3_600))
        _ = try connection.put("kept", "v")
        try Self.wait { try connection.get("gone-49").status == 404 }
        // Nobody writes: the node removes them by itself.
        try Self.wait { try Self.state(connection).keys == 2 }
        return try Self.state(connection)
      }
      #expect(before.expiringKeys == 1)
      try await node.kill()
      let again = try await ServedNode.start(settings)
      let (after, statuses) = try await Threads.runOne {
        let connection = try again.connect()
        return (
          try Self.state(connection),
          try ["gone-0", "gone-49", "later", "kept"].map { try connection.get($0).status }
        )
      }
      #expect(after == before && statuses == [404, 404, 200, 200])
      #expect(!(try again.process.errorsSoFar()).contains("another digest"))
      try await again.stop()
      let dump = try await Executable.dump.run(
        ["--json", "--key", "later", settings.data], in: directory)
      #expect(dump.output.contains("\"expiry\":"))
    }

    @Test("are gone after a start if their time came while it was down")
    func killedBefore() async throws {
      let directory = try TemporaryDirectory()
      let settings = ServedNode.Settings(in: directory)
      let node = try await ServedNode.start(settings)
      try await Threads.runOne {
        let connection = try node.connect()
        for number in 0..<20 {
          _ = try connection.exchange(Self.put("gone-\(number)", seconds: 2))
        }
      }
      try await node.kill()
      try await Task.sleep(for: .milliseconds(2_000))
      let again = try await ServedNode.start(settings)
      try await Threads.runOne {
        let connection = try again.connect()
        for number in 0..<20 where try connection.get("gone-\(number)").status != 404 {
          throw ConnectionError.malformed("gone-\(number)")
        }
        try Self.wait { try Self.state(connection).keys == 0 }
      }
      try await again.stop()
      let last = try await ServedNode.start(settings)
      let state = try await Threads.runOne { try Self.state(try last.connect()) }
      #expect(state == State(keys: 0, expiringKeys: 0, digest: "0000000000000000"))
      #expect(!(try last.process.errorsSoFar()).contains("another digest"))
      try await last.stop()
    }
  }
}
