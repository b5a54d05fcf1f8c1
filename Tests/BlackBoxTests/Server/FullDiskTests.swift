import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A node on a full disk") struct FullDiskTests {
    private static let value = String(repeating: "v", count: 3_000)

    /// Puts new keys until one is refused.
    private static func fill(
      _ connection: HTTPConnection, _ name: String
    ) throws -> (keys: [String], refusal: HTTPAnswer) {
      var keys: [String] = []
      while true {
        let key = "\(name)-\(keys.count)"
        let answer = try connection.put(key, value)
        if answer.status != 201 { return (keys, answer) }
        keys.append(key)
        try #require(keys.count < 1_000, "the disk does not fill up")
      }
    }

    @Test("refuses writes, reads on, and goes on by itself once there is room")
    func filled() async throws {
      let directory = try TemporaryDirectory()
      let disk = try await SmallDisk.mount("size=512k", in: directory)
      let ballast = URL(fileURLWithPath: disk.path + "/ballast")
      try Data(repeating: 1, count: 160 << 10).write(to: ballast)
      let settings = ServedNode.Settings(in: directory, data: disk.path + "/data")
      let node = try await ServedNode.start(settings)
      let keys = try await Threads.runOne {
        let connection = try node.connect()
        let (before, refusal) = try Self.fill(connection, "before")
        #expect(refusal.status == 507)
        #expect(refusal.text.contains("no space left on the disk: nothing was written"))
        #expect(before.count > 20)
        // Reads, and refusals, go on.
        for _ in 0..<50 { #expect(try connection.put("refused", Self.value).status == 507) }
        #expect(try connection.get("refused").status == 404)
        for key in before { #expect(try connection.get(key).text == Self.value) }
        try FileManager.default.removeItem(at: ballast)
        let (after, second) = try Self.fill(connection, "after")
        #expect(after.count > 20 && second.status == 507)
        // What takes no new segment may still fit; else it is refused, and nothing happens.
        let answer = try connection.exchange(.delete(before[0]))
        #expect([204, 507].contains(answer.status))
        return (answer.status == 204 ? Array(before.dropFirst()) : before) + after
      }
      // Said once, however many were refused.
      let said = try node.process.errorsSoFar()
      #expect(said.components(separatedBy: "writes are refused until there is room").count == 2)
      // Killed while full: a start needs no more than a few hundred bytes, here none.
      try await node.kill()
      let again = try await ServedNode.start(settings)
      let found = try await Threads.runOne { try NodeWriter.read(keys, try again.connect()) }
      #expect(keys.filter { found[$0] != Self.value } == [])
      try await again.stop()
      let verdict = try await Executable.dump.run(["--verify", settings.data], in: directory)
      #expect(verdict.status == 0, "\(verdict.output)")
    }
  }
}
