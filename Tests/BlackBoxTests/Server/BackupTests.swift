import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A backup of a running node") struct BackupTests {
    private let directory: TemporaryDirectory
    private let node: ServedNode

    init() async throws {
      directory = try TemporaryDirectory()
      node = try await ServedNode.start(.init(in: directory))
    }

    private func kv(_ arguments: String...) async throws -> Outcome {
      try await Executable.kv.run(
        arguments + ["--http-addr", "\(node.address)"], in: directory)
    }

    /// Values that do not compress, by their keys.
    private func fill(_ count: Int, bytes: Int, seed: UInt64) async throws -> [String: String] {
      var numbers = SeededNumbers(seed: seed)
      var state: [String: String] = [:]
      for number in 0..<count {
        let text = (0..<bytes).map { _ in UInt8.random(in: 97...122, using: &numbers) }
        state["key-\(number)"] = String(decoding: text, as: UTF8.self)
      }
      let written = state
      let node = node
      try await Threads.runOne {
        let connection = try node.connect()
        for (key, value) in written { #expect(try connection.put(key, value).status == 201) }
      }
      return state
    }

    private func check(_ backup: String, has state: [String: String]) async throws {
      let verdict = try await Executable.dump.run(["--verify", backup], in: directory)
      #expect(verdict.status == 0, "\(verdict.output)")
      let restored = try await ServedNode.start(.init(in: directory, data: backup))
      let status = try await Threads.runOne {
        let connection = try restored.connect()
        for (key, value) in state { #expect(try connection.get(key).text == value) }
        return try connection.exchange(.status).members()["epoch"] as? Int
      }
      #expect(status == 2, "a copy is a history of its own")
      try await restored.stop()
    }

    @Test("kv snapshot has one made, and says of what")
    func snapshot() async throws {
      _ = try await fill(3, bytes: 100, seed: 1)
      let text = try await kv("snapshot")
      #expect(text.status == 0 && text.errors == "")
      #expect(text.output.hasPrefix("sequence number ") && text.output.contains(": 3 keys, "))
      let json = try await kv("snapshot", "--json")
      #expect(
        json.output.hasPrefix("{\"sequence\":") && json.output.contains(",\"keys\":3,\"bytes\":"))
      try await node.stop()
      let nobody = try await kv("snapshot")
      #expect(nobody.status == 1 && nobody.errors.contains("refused"))
    }

    @Test("taken under writes has everything that was acknowledged before, and can be served")
    func underWrites() async throws {
      let state = try await fill(200, bytes: 500, seed: 2)
      let node = node
      async let ended = Threads.run(2) { index in
        var writer = NodeWriter("w\(index)", depth: 4, seed: UInt64(index))
        writer.write(to: node.address)
        return writer
      }
      let out = directory.path("backup")
      let outcome = try await kv("backup", "--out", out)
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(outcome.output.hasPrefix("\(out): ") && outcome.output.contains(", verified; "))
      #expect(!FileManager.default.fileExists(atPath: out + ".partial"))
      try await node.kill()
      _ = try await ended
      try await check(out, has: state)
      let again = try await kv("backup", "--out", out)
      #expect(again.status == 1 && again.errors.contains("there is something already"))
    }

    @Test("that was interrupted goes on where it was, with the snapshot that it began with")
    func interrupted() async throws {
      let state = try await fill(1_500, bytes: 16_000, seed: 3)
      let out = directory.path("backup")
      let parts = out + ".partial/snapshots"
      var tags: Set<String> = []
      for mebibytes in [6, 10] {
        // Ended by the system, in the middle of a piece, where its file gets larger than that.
        let outcome = try await Executable.shell.run(
          [
            "-c",
            "ulimit -c 0; ulimit -f \(mebibytes * 2_048); exec '\(Executable.kv.url.path)' backup "
              + "--out '\(out)' --http-addr \(node.address)",
          ], in: directory)
        #expect(outcome.status != 0 && !FileManager.default.fileExists(atPath: out))
        let names = try FileManager.default.contentsOfDirectory(atPath: parts)
        #expect(names.count == 1 && names[0].hasSuffix(".part"), "\(names)")
        tags.insert(names[0])
        let part = try FileManager.default.attributesOfItem(atPath: parts + "/" + names[0])
        #expect(part[.size] as? Int == mebibytes << 20)
        // Later snapshots do not disturb it.
        for number in 0..<2 {
          _ = try await kv("set", "later", "\(number)")
          _ = try await kv("snapshot")
        }
      }
      let outcome = try await kv("backup", "--out", out)
      #expect(outcome.status == 0 && tags.count == 1, "\(outcome.errors)")
      try await check(out, has: state)
      try await node.stop()
    }

    @Test("finds out that what it has fetched is damaged, and fetches it anew")
    func damaged() async throws {
      let state = try await fill(300, bytes: 2_000, seed: 4)
      let out = directory.path("backup")
      let parts = out + ".partial/snapshots"
      _ = try await Executable.installed("strace").run(
        [
          "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e",
          "inject=fdatasync:signal=KILL:when=1", Executable.kv.url.path, "backup", "--out", out,
          "--http-addr", "\(node.address)",
        ], in: directory)
      let name = try #require(try FileManager.default.contentsOfDirectory(atPath: parts).first)
      try LogFixture("unused", in: directory).flip(parts + "/" + name, at: 5_000)
      let outcome = try await kv("backup", "--out", out)
      #expect(outcome.status == 1 && outcome.errors.contains("what was fetched is damaged"))
      #expect(try await kv("backup", "--out", out).status == 0)
      try await check(out, has: state)
      try await node.stop()
    }
  }
}
