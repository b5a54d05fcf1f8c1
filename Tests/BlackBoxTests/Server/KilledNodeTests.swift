import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A node that is killed") struct KilledNodeTests {
    /// The flags of a round: each with another lane, dialect and size of the segments.
    private static func flags(_ round: Int) -> [String] {
      [
        "--segment-bytes", ["16384", "65536", "262144"][round % 3],
        "--fast-lane", round % 2 == 0 ? "on" : "off",
        "--dialect", ["classic", "compact", "plain"][round / 2 % 3],
        // The system has what was acknowledged, and outlives the process.
        "--sync", round % 4 == 3 ? "none" : "always",
      ]
    }

    @Test("keeps what it acknowledged, brings nothing back, and halves no write")
    func killedAtAnyMoment() async throws {
      let directory = try TemporaryDirectory()
      var settings = ServedNode.Settings(in: directory)
      var numbers = SeededNumbers(seed: 11)
      var writers = (0..<8).map {
        NodeWriter("w\($0)", depth: $0 % 2 == 0 ? 1 : 8, seed: UInt64($0))
      }
      for round in 0..<12 {
        settings.flags = Self.flags(round)
        // Killed while it starts: what it does then is done again by the next start.
        for _ in 0..<(round % 3) {
          let starting = try ServedNode(settings)
          try await Task.sleep(for: .microseconds(Int.random(in: 0...30_000, using: &numbers)))
          try await starting.kill()
        }
        let node = try await ServedNode.start(settings)
        writers = try await check(writers, node, "round \(round)")
        let address = node.address
        let begun = writers
        async let ended = Threads.run(begun.count) { index in
          var writer = begun[index]
          writer.write(to: address)
          return writer
        }
        try await Task.sleep(for: .milliseconds(Int.random(in: 40...350, using: &numbers)))
        try await node.kill()
        writers = try await ended
      }
      let node = try await ServedNode.start(settings)
      writers = try await check(writers, node, "in the end")
      try await node.stop()
      #expect(writers.map(\.history.acknowledgedCount).reduce(0, +) > 1_000)
      let log = try FileManager.default.contentsOfDirectory(atPath: settings.data + "/wal")
      #expect(log.count { $0.hasSuffix(".wal") } > 10)
      let verdict = try await Executable.dump.run(["--verify", settings.data], in: directory)
      #expect(verdict.status == 0, "\(verdict.output)")
    }

    private func check(
      _ begun: [NodeWriter], _ node: ServedNode, _ moment: String
    ) async throws -> [NodeWriter] {
      let checked = try await Threads.runOne {
        let connection = try node.connect()
        var writers = begun
        var faults: [String] = []
        for index in writers.indices { faults += try writers[index].check(connection) }
        let status = try connection.exchange(.status).members()
        let count = writers.map(\.history.confirmed.count).reduce(0, +)
        if status["keys"] as? Int != count {
          faults.append("\(count) keys, and the node counts \(status["keys"] ?? "none")")
        }
        return (writers, faults)
      }
      #expect(checked.1 == [], "\(moment)")
      return checked.0
    }

    @Test("starts after a kill at any call of its recovery from a torn write")
    func killedInRecovery() async throws {
      let directory = try TemporaryDirectory()
      let torn = try await Self.tornLog(in: directory)
      var kills = 0
      for call in ["pwrite64", "fdatasync", "fsync", "rename", "unlink", "mkdir"] {
        var number = 1
        var hasStarted = false
        while !hasStarted {
          let log = directory.path("killed-\(call)-\(number)")
          try FileManager.default.copyItem(atPath: torn.log, toPath: log)
          var settings = ServedNode.Settings(in: directory, data: log)
          settings.flags = ["--segment-bytes", "16384"]
          var traced = settings
          traced.tracing = [
            "-e", "trace=\(call)", "-e", "inject=\(call):signal=KILL:when=\(number)",
          ]
          let killed = try ServedNode(traced)
          hasStarted = try await Self.listens(killed)
          try await killed.kill()
          kills += hasStarted ? 0 : 1
          let node = try await ServedNode.start(settings)
          let found = try await Threads.runOne {
            try NodeWriter.read(torn.keys, try node.connect())
          }
          #expect(found == torn.state, "\(call) \(number)")
          try await node.stop()
          try FileManager.default.removeItem(atPath: log)
          number += 1
        }
      }
      #expect(kills > 10)
    }

    @Test("keeps what it acknowledged when it dies at a call while it begins new segments")
    func killedAtCalls() async throws {
      let directory = try TemporaryDirectory()
      var settings = ServedNode.Settings(in: directory)
      settings.flags = ["--segment-bytes", "16384"]
      var numbers = SeededNumbers(seed: 5)
      var writers = (0..<4).map { NodeWriter("w\($0)", depth: 4, seed: 100 + UInt64($0)) }
      for call in ["rename", "fsync", "fallocate", "pwrite64", "fdatasync", "unlink"] {
        let isFrequent = call == "pwrite64" || call == "fdatasync"
        for _ in 0..<2 {
          let number = Int.random(in: isFrequent ? 20...80 : 3...9, using: &numbers)
          var traced = settings
          traced.tracing = [
            "-e", "trace=\(call)", "-e", "inject=\(call):signal=KILL:when=\(number)",
          ]
          let node = try ServedNode(traced)
          // Its start can die of that as well; nobody can write then.
          _ = try await Self.listens(node)
          let address = node.address
          let begun = writers
          async let ended = Threads.run(begun.count) { index in
            var writer = begun[index]
            writer.write(to: address)
            return writer
          }
          // Some calls are rare: it dies anyhow.
          try await Task.sleep(for: .milliseconds(250))
          try await node.kill()
          writers = try await ended
          let again = try await ServedNode.start(settings)
          writers = try await check(writers, again, "\(call) \(number)")
          try await again.stop()
        }
      }
    }

    /// True when it came to listen, false when it ended.
    private static func listens(_ node: ServedNode) async throws -> Bool {
      do {
        _ = try await node.process.errors { $0.contains("listening on ") }
        return true
      } catch is RunningProcess.Timeout {
        return false
      }
    }

    struct TornLog {
      var log: String
      var keys: [String]
      var state: WriterHistory.State
    }

    /// A data directory whose last write is half there, and what it holds.
    static func tornLog(in directory: TemporaryDirectory) async throws -> TornLog {
      var settings = ServedNode.Settings(in: directory, data: directory.path("torn"))
      settings.flags = ["--segment-bytes", "16384"]
      let node = try await ServedNode.start(settings)
      let keys = (0..<12).map { "key-\($0)" }
      let state = Dictionary(
        uniqueKeysWithValues: keys.map {
          ($0, "value of \($0)" + String(repeating: ".", count: 3_000))
        })
      try await Threads.runOne {
        let connection = try node.connect()
        for key in keys { _ = try connection.put(key, state[key]!) }
        _ = try connection.put("torn", "value")
      }
      try await node.kill()
      let log = try LogFixture("torn", in: directory)
      let last = try #require(try log.frames().last { $0.header.frameBytes > 0 })
      try log.tear(last, keeping: 40)
      return TornLog(log: settings.data, keys: keys + ["torn"], state: state)
    }
  }
}
