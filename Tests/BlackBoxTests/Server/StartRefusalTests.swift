import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A node that cannot start") struct StartRefusalTests {
    /// Runs the process to its end: one line on standard error, exit code 1.
    private func refusal(_ settings: ServedNode.Settings) async throws -> String {
      let outcome = try await ServedNode(settings).process.outcome()
      #expect(outcome.status == 1)
      let errors = outcome.errors.split(separator: "\n").filter { $0.hasPrefix("error: ") }
      #expect(errors.count == 1, "\(outcome.errors)")
      return errors.first.map { String($0) } ?? ""
    }

    @Test("says which address is taken, and leaves the one who has it alone")
    func addressTaken() async throws {
      let directory = try TemporaryDirectory()
      let first = try await ServedNode.start(.init(in: directory))
      var settings = ServedNode.Settings(in: directory, data: directory.path("other"))
      settings.address = first.address
      let text = try await refusal(settings)
      #expect(
        text == "error: cannot listen on \(first.address): Address already in use. "
          + "Is another process there? Choose another --http-addr")
      #expect(try first.connect().put("key", "value").status == 201)
      // Not even made.
      #expect(!FileManager.default.fileExists(atPath: settings.data))
      settings.address = .fresh()
      let again = try await ServedNode.start(settings)
      #expect(!(try again.process.errorsSoFar()).contains("unclean"))
      try await again.stop()
      try await first.stop()
    }

    @Test("says that another process has the directory, and which")
    func locked() async throws {
      let directory = try TemporaryDirectory()
      let first = try await ServedNode.start(.init(in: directory))
      let text = try await refusal(.init(in: directory))
      #expect(
        text == "error: \(first.settings.data)/LOCK: the directory is in use by process "
          + "\(first.process.id). Stop that process, or use another directory")
      #expect(try first.connect().put("key", "value").status == 201)
      try await first.stop()
    }

    @Test("says what is wrong with the data directory")
    func directory() async throws {
      let directory = try TemporaryDirectory()
      let file = directory.path("file")
      try Data("mine".utf8).write(to: URL(fileURLWithPath: file))
      let disk = try await SmallDisk.mount("ro", in: directory)
      for (path, words) in [
        (file, "File exists"), (file + "/data", "Not a directory"),
        ("/proc/shiplog", "No such file or directory"),
        (disk.path + "/data", "Read-only file system"),
      ] {
        let text = try await refusal(.init(in: directory, data: path))
        #expect(text.hasPrefix("error: \(path): ") && text.contains(words), "\(text)")
      }
      #expect(try String(contentsOfFile: file, encoding: .utf8) == "mine")
    }

    @Test(
      "names the flag whose value makes no sense, exit 64",
      arguments: [
        ("--http-addr", "127.0.0.1"), ("--http-addr", "127.0.0.1:0"), ("--http-addr", "a b:80"),
        ("--http-addr", "127.0.0.1:65536"), ("--sync", "sometimes"), ("--sync", "interval:0"),
        ("--segment-bytes", "0"), ("--segment-bytes", "5000"), ("--segment-bytes", "12XB"),
        ("--dialect", "klingon"), ("--threads", "0"), ("--fast-lane", "maybe"),
        ("--max-value-bytes", "1GiB"), ("--max-memory", "-1"), ("--idle-seconds", "0"),
        ("--log-level", "loud"), ("--log-format", "xml"), ("--no-such-flag", "1"),
      ])
    func flag(_ name: String, _ value: String) async throws {
      let directory = try TemporaryDirectory()
      let outcome = try await Executable.kv.run(
        ["serve", "--data-dir", directory.path("data"), "\(name)=\(value)"],
        environment: ServedNode.environment([:]), in: directory)
      #expect(outcome.status == 64)
      let first = outcome.errors.split(separator: "\n").first ?? ""
      #expect(first.contains(name) || first.contains("\"\(value)\""), "\(outcome.errors)")
      #expect(outcome.errors.contains("kv serve --help"), "\(outcome.errors)")
      #expect(!FileManager.default.fileExists(atPath: directory.path("data")))
    }

    @Test("refuses a log with a damaged byte in an old segment, and changes nothing")
    func damaged() async throws {
      let directory = try TemporaryDirectory()
      var settings = ServedNode.Settings(in: directory)
      settings.flags = ["--segment-bytes", "16384"]
      let node = try await ServedNode.start(settings)
      let value = String(repeating: "v", count: 2_000)
      for number in 0..<40 { _ = try node.connect().put("key-\(number)", value) }
      try await node.kill()
      let log = try LogFixture(in: directory)
      let frames = try log.frames()
      let second = try #require(try log.segments().dropFirst().first)
      let place = try #require(frames.filter { $0.file == second }.dropFirst().first)
      try log.flip(second, at: place.offset + 200)
      let before = try contents(of: settings.data)
      let text = try await refusal(settings)
      #expect(
        text.hasPrefix("error: \(second): at byte \(place.offset), sequence number "), "\(text)")
      #expect(text.contains("corrupt, acknowledged data is damaged"))
      #expect(text.contains("Restore the file from a backup"))
      #expect(try contents(of: settings.data) == before)
      // With the byte as it was it starts.
      try log.flip(second, at: place.offset + 200)
      let again = try await ServedNode.start(settings)
      #expect(try again.connect().get("key-39").text == value)
      try await again.stop()
    }

    /// Every file that holds data, by its name.
    private func contents(of directory: String) throws -> [String: Data] {
      var contents: [String: Data] = [:]
      for name in try FileManager.default.subpathsOfDirectory(atPath: directory)
      where name.hasSuffix(".wal") {
        contents[name] = try Data(contentsOf: URL(fileURLWithPath: "\(directory)/\(name)"))
      }
      return contents
    }
  }
}
