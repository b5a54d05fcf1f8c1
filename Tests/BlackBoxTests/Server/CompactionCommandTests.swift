import Foundation
import Testing
import WAL

extension NodeProcessTests {
  @Suite("wal-compact") struct CompactionCommandTests {
    private let directory: TemporaryDirectory
    private var settings: ServedNode.Settings

    init() throws {
      directory = try TemporaryDirectory()
      settings = ServedNode.Settings(in: directory)
      settings.flags = ["--segment-bytes", "16384"]
    }

    private func compact(_ arguments: String...) async throws -> Outcome {
      try await Executable.compact.run(arguments, in: directory)
    }

    /// What of a node must stay as it was.
    private struct State: Equatable {
      var digest: String
      var keys: Int
      var epoch: Int
      var tag: String
      var value: String
    }

    private func state(_ node: ServedNode) async throws -> State {
      try await Threads.runOne {
        let connection = try node.connect()
        let status = try connection.exchange(.status).members()
        let answer = try connection.get("key-7")
        let tag = answer.head.split(separator: "\r\n").first { $0.hasPrefix("ETag: ") }
        return State(
          digest: try #require(status["digest"] as? String),
          keys: try #require(status["keys"] as? Int), epoch: try #require(status["epoch"] as? Int),
          tag: String(try #require(tag)), value: answer.text)
      }
    }

    /// Writes for two rounds, and stops.
    ///
    /// - Returns: its state behind the first one, with the version of its last write, and at the end.
    private func written() async throws -> (first: State, version: String, last: State) {
      let node = try await ServedNode.start(settings)
      let version = try await Threads.runOne {
        let connection = try node.connect()
        for number in 0..<40 {
          let answer = try connection.put("key-\(number)", String(repeating: "a", count: 800))
          #expect(answer.status == 201)
        }
        let last = try connection.exchange(.delete("key-3"))
        return try #require(
          last.head.split(separator: "\r\n").first { $0.hasPrefix("X-KV-Version") }
        )
        .split(separator: " ")[1]
      }
      let first = try await state(node)
      try await Threads.runOne {
        let connection = try node.connect()
        for number in 0..<20 { _ = try connection.put("key-\(number)", "b") }
      }
      let last = try await state(node)
      try await node.stop()
      return (first, String(version), last)
    }

    @Test("folds the log into a snapshot from which a node goes on as if nothing had happened")
    func inPlace() async throws {
      let (_, _, last) = try await written()
      let outcome = try await compact("--data-dir", settings.data)
      #expect(outcome.status == 0 && outcome.errors == "", "\(outcome.errors)")
      #expect(outcome.output.hasPrefix("\(settings.data): 40 keys at sequence number "))
      let files = FileManager.default
      #expect(try files.contentsOfDirectory(atPath: settings.data + "/wal") == ["clean"])
      #expect(try files.contentsOfDirectory(atPath: settings.data + "/snapshots").count == 1)
      let verdict = try await Executable.dump.run(["--verify", settings.data], in: directory)
      #expect(verdict.status == 0 && verdict.output.contains("clean: 40 keys in 1 block"))
      let node = try await ServedNode.start(settings)
      #expect(try await state(node) == last)
      #expect(try node.process.errorsSoFar().contains("40 keys from 0 records"))
      try await node.stop()
    }

    @Test("is refused while a node has the directory, exit 1")
    func inUse() async throws {
      let node = try await ServedNode.start(settings)
      for more in [[], ["--out", directory.path("out")]] {
        let outcome = try await Executable.compact.run(
          ["--data-dir", settings.data] + more, in: directory)
        #expect(outcome.status == 1 && outcome.output == "")
        #expect(outcome.errors.contains("in use by process \(node.process.id)"))
        #expect(outcome.errors.split(separator: "\n").count == 1)
      }
      #expect(!FileManager.default.fileExists(atPath: directory.path("out")))
      try await node.stop()
    }

    @Test("goes back to a number and to a time, in a new directory and a new epoch")
    func earlier() async throws {
      let (first, version, last) = try await written()
      let log = try LogFixture("data", in: directory)
      let frames = try log.frames()
      let frame = try #require(frames.first { $0.header.lastSequence == UInt64(version) })
      let time = frame.header.timeMilliseconds
      // What was written in the same millisecond counts as well.
      #expect(
        try #require(frames.last { $0.header.timeMilliseconds <= time }).header.lastSequence
          <= UInt64(version)! + 1)
      for (index, point) in [["--to-seq", version], ["--to-time", "\(time)"]].enumerated() {
        let out = directory.path("out-\(index)")
        let outcome = try await Executable.compact.run(
          ["--data-dir", settings.data, "--out", out, "--json"] + point, in: directory)
        #expect(outcome.status == 0, "\(outcome.errors)")
        #expect(!FileManager.default.fileExists(atPath: out + ".partial"))
        var restored = ServedNode.Settings(in: directory, data: out)
        restored.flags = settings.flags
        let node = try await ServedNode.start(restored)
        let found = try await state(node)
        #expect(found.epoch == 2 && found.keys == first.keys && found.digest == first.digest)
        #expect(found.value == first.value && found.tag == first.tag)
        try await node.stop()
      }
      let node = try await ServedNode.start(settings)
      #expect(try await state(node) == last)
      try await node.stop()
    }

    @Test("says in one line what it cannot do: exit 1; and what makes no sense: exit 64")
    func refusals() async throws {
      _ = try await written()
      let out = directory.path("out")
      let far = try await compact("--data-dir", settings.data, "--to-seq", "9999", "--out", out)
      #expect(far.status == 1 && far.errors.contains("there is no sequence number 9999"))
      let early = try await compact(
        "--data-dir", settings.data, "--to-time", "2001-02-03T04:05:06Z", "--out", out)
      #expect(early.status == 1 && early.errors.contains("later than 981173106000 ms since 1970"))
      let nothing = try await compact("--data-dir", directory.path("nowhere"))
      #expect(nothing.status == 1 && nothing.errors.contains("no data here"))
      let taken = try await compact("--data-dir", settings.data, "--out", settings.data)
      #expect(taken.status == 1 && taken.errors.contains("there is something already"))
      #expect(!FileManager.default.fileExists(atPath: out))
      for arguments in [
        [], ["--to-seq", "5"], ["--to-time", "5"], ["--out", out, "--to-seq", "0"],
        ["--out", out, "--to-seq", "5", "--to-time", "5"],
        ["--out", out, "--to-time", "yesterday"],
        ["--out", out, "--to-time", "2026-02-29"], ["--out", ""], ["--hash", "crc"],
      ] {
        let place = arguments.isEmpty ? [] : ["--data-dir", settings.data]
        let outcome = try await Executable.compact.run(place + arguments, in: directory)
        #expect(outcome.status == 64, "\(arguments)")
      }
      // Folded: what precedes the snapshot is gone.
      #expect(try await compact("--data-dir", settings.data).status == 0)
      let gone = try await compact("--data-dir", settings.data, "--to-seq", "5", "--out", out)
      #expect(gone.status == 1 && gone.errors.contains("The oldest point that can be had is "))
    }

    @Test(
      "understands times with zones and fractions",
      arguments: [
        ("2001-02-03T04:05:06Z", 981_173_106_000),
        ("2001-02-03 05:05:06.789+01:00", 981_173_106_789),
        ("2001-02-02T22:35-0530", 981_173_100_000), ("2000-02-29", 951_782_400_000),
        ("1970-01-01T00:00:00.001", 1),
      ])
    func times(text: String, milliseconds: Int) async throws {
      let log = try LogFixture("data", in: directory)
      try log.put(3)
      let outcome = try await compact(
        "--data-dir", log.path, "--to-time", text, "--out", directory.path("out"))
      #expect(outcome.errors.contains("later than \(milliseconds) ms"), "\(outcome.errors)")
    }

    @Test("names what is damaged, changes nothing, exit 1")
    func damage() async throws {
      _ = try await written()
      let log = try LogFixture("data", in: directory)
      let place = try log.frames()[20]
      try log.flip(place.file, at: place.offset + 100)
      let before = try FileManager.default.contentsOfDirectory(atPath: log.log).sorted()
      let outcome = try await compact("--data-dir", settings.data)
      #expect(
        outcome.status == 1 && outcome.errors.contains("\(place.file): at byte \(place.offset)"))
      #expect(try FileManager.default.contentsOfDirectory(atPath: log.log).sorted() == before)
    }

    @Test("that is killed at any of its calls leaves what a node starts from, with every key")
    func killed() async throws {
      let (_, _, last) = try await written()
      var kills = 0
      for call in ["pwrite64", "fdatasync", "fsync", "rename", "unlink", "mkdir"] {
        var number = 1
        var isDone = false
        while !isDone {
          let data = directory.path("killed-\(call)-\(number)")
          try FileManager.default.copyItem(atPath: settings.data, toPath: data)
          let outcome = try await Executable.installed("strace").run(
            [
              "-f", "-o", "/dev/null", "-e", "trace=\(call)", "-e",
              "inject=\(call):signal=KILL:when=\(number)", Executable.compact.url.path,
              "--data-dir", data,
            ], in: directory)
          isDone = outcome.status == 0
          kills += isDone ? 0 : 1
          var restarted = ServedNode.Settings(in: directory, data: data)
          restarted.flags = settings.flags
          let node = try await ServedNode.start(restarted)
          #expect(try await state(node) == last, "\(call) \(number)")
          try await node.kill()
          try FileManager.default.removeItem(atPath: data)
          number += 1
        }
      }
      #expect(kills > 20)
    }

    @Test("into a new directory leaves nothing of that name when it is killed, and goes on")
    func copyKilled() async throws {
      let (_, _, last) = try await written()
      let out = directory.path("out")
      var kills = 0
      for call in ["fdatasync", "fsync", "rename"] {
        var number = 1
        var isDone = false
        while !isDone {
          let outcome = try await Executable.installed("strace").run(
            [
              "-f", "-o", "/dev/null", "-e", "trace=\(call)", "-e",
              "inject=\(call):signal=KILL:when=\(number)", Executable.compact.url.path,
              "--data-dir", settings.data, "--out", out,
            ], in: directory)
          isDone = outcome.status == 0
          kills += isDone ? 0 : 1
          number += 1
          guard FileManager.default.fileExists(atPath: out) else { continue }
          // Whole, although it died behind that.
          let verdict = try await Executable.dump.run(["--verify", out], in: directory)
          #expect(verdict.status == 0 && verdict.output.contains("clean: 40 keys"), "\(call)")
          if !isDone { try FileManager.default.removeItem(atPath: out) }
        }
        let node = try await ServedNode.start(.init(in: directory, data: out))
        #expect(try await state(node) == last, "\(call)")
        try await node.stop()
        try FileManager.default.removeItem(atPath: out)
      }
      #expect(kills > 6)
    }
  }
}
