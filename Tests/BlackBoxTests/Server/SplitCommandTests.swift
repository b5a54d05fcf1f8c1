import Engine
import Foundation
import Sharding
import Testing
import WAL

extension NodeProcessTests {
  @Suite("snapshot-split") struct SplitCommandTests {
    private let directory: TemporaryDirectory
    private var settings: ServedNode.Settings
    private let out: String

    init() throws {
      directory = try TemporaryDirectory()
      settings = ServedNode.Settings(in: directory)
      settings.flags = ["--segment-bytes", "16384"]
      out = directory.path("out")
    }

    private func split(_ arguments: String...) async throws -> Outcome {
      try await Executable.split.run(arguments, in: directory)
    }

    private struct Written: Equatable {
      var value: String
      var version: UInt64
    }

    /// Writes, makes a snapshot in between, and stops.
    ///
    /// - Returns: every key's value and version, as the node says them.
    private func written(snapshotAtEnd: Bool = false) async throws -> [String: Written] {
      let node = try await ServedNode.start(settings)
      let keys = try await Threads.runOne {
        let connection = try node.connect()
        for number in 0..<150 {
          let answer = try connection.put("key-\(number)", String(repeating: "a", count: 400))
          #expect(answer.status == 201)
        }
        try snapshot(connection)
        for number in 100..<200 { _ = try connection.put("key-\(number)", "b \(number)") }
        for number in 0..<10 { _ = try connection.exchange(.delete("key-\(number)")) }
        if snapshotAtEnd { try snapshot(connection) }
        var found: [String: Written] = [:]
        for number in 10..<200 {
          let answer = try connection.get("key-\(number)")
          let version = try #require(
            answer.head.split(separator: "\r\n").first { $0.hasPrefix("X-KV-Version: ") })
          found["key-\(number)"] = Written(
            value: answer.text, version: try #require(UInt64(version.split(separator: " ")[1])))
        }
        return found
      }
      try await node.stop()
      return keys
    }

    private func snapshot(_ connection: HTTPConnection) throws {
      let answer = try connection.exchange(
        HTTPRequest(method: "POST", target: "/admin/snapshot", body: []))
      #expect(answer.status == 200, "\(answer.text)")
    }

    private func child(_ index: UInt32, of count: UInt32) -> String {
      "\(out)/shard-\(index)-of-\(count)"
    }

    /// What a node finds that starts from a child as that shard.
    private func contents(_ index: UInt32, of count: UInt32) throws -> [String: Written] {
      var options = StoreOptions(dataDirectory: child(index, of: count), node: 5)
      options.shardIndex = index
      options.shardCount = count
      let store = try Store.open(options)
      #expect(store.report.log.wasClean && store.report.digestMismatches == [])
      var found: [String: Written] = [:]
      store.index.forEach { key, view in
        found[String(decoding: key, as: UTF8.self)] = Written(
          value: String(decoding: view.value, as: UTF8.self), version: view.version)
      }
      try store.close()
      return found
    }

    private func shard(of key: String, _ count: UInt32) -> UInt32 {
      UInt32(Array(key.utf8).withUnsafeBytes { ShardHash.fnv1($0) } % UInt64(count))
    }

    /// Every file below the data directory.
    private func files() throws -> [String: Data] {
      let root = URL(fileURLWithPath: settings.data)
      var files: [String: Data] = [:]
      let names = try #require(FileManager.default.enumerator(atPath: settings.data))
      for case let name as String in names {
        let file = root.appendingPathComponent(name)
        var isDirectory: ObjCBool = false
        _ = FileManager.default.fileExists(atPath: file.path, isDirectory: &isDirectory)
        if !isDirectory.boolValue { files[name] = try Data(contentsOf: file) }
      }
      return files
    }

    private func names() -> [String] {
      let found = try? FileManager.default.contentsOfDirectory(atPath: out)
      return (found ?? []).sorted()
    }

    @Test(
      "makes a directory for each child from which a node serves its keys with their versions",
      arguments: [2, 3, 4] as [UInt32], [true, false])
    func children(count: UInt32, snapshotAtEnd: Bool) async throws {
      let all = try await written(snapshotAtEnd: snapshotAtEnd)
      let before = try files()
      let outcome = try await split(
        "--data-dir", settings.data, "--shards", "\(count)", "--out", out, "--verify")
      #expect(outcome.status == 0 && outcome.errors == "", "\(outcome.errors)")
      #expect(try files() == before)
      #expect(names() == (0..<count).map { "shard-\($0)-of-\(count)" })
      #expect(outcome.lines.count == Int(count) + 1)
      #expect(
        outcome.lines.last?.hasPrefix(
          "\(settings.data): shard 0 of 1 (fnv1-64), 190 keys, into \(count) of \(count) shards, "
            + "verified; ") == true, "\(outcome.output)")
      for index in 0..<count {
        let verdict = try await Executable.dump.run(
          ["--verify", child(index, of: count)], in: directory)
        #expect(verdict.status == 0, "\(verdict.output)")
        let found = try contents(index, of: count)
        #expect(found == all.filter { shard(of: $0.key, count) == index })
      }
      let again = try await split(
        "--data-dir", settings.data, "--shards", "\(count)", "--out", out)
      #expect(again.status == 1 && again.errors.contains("there is something already"))
    }

    @Test("says in JSON what it has made")
    func json() async throws {
      _ = try await written(snapshotAtEnd: true)
      let outcome = try await split(
        "--data-dir", settings.data, "--shards", "2", "--out", out, "--json")
      let said = try #require(
        try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
      #expect(said["keys"] as? Int == 190 && said["verified"] as? Bool == false)
      #expect(said["log_folded"] as? Bool == false && said["hash"] as? String == "fnv1-64")
      let children = try #require(said["children"] as? [[String: Any]])
      #expect(children.map { $0["directory"] as? String } == [child(0, of: 2), child(1, of: 2)])
      #expect(children.compactMap { $0["keys"] as? Int }.reduce(0, +) == 190)
      #expect(children.allSatisfy { ($0["epoch"] as? String)?.hasPrefix("2-") == true })
    }

    @Test("makes what does not serve as another shard")
    func identity() async throws {
      _ = try await written()
      #expect(
        try await split("--data-dir", settings.data, "--shards", "2", "--out", out).status == 0)
      let node = try ServedNode(.init(in: directory, data: child(1, of: 2)))
      let outcome = try await node.process.outcome()
      #expect(
        outcome.status == 1 && outcome.errors.contains("it holds shard 1 of 2")
          && outcome.errors.contains("shard 0 of 1"), "\(outcome.errors)")
      // A child is split like any other.
      let more = directory.path("more")
      let grandchildren = try await split(
        "--data-dir", child(1, of: 2), "--shards", "6", "--out", more, "--verify")
      #expect(grandchildren.status == 0, "\(grandchildren.errors)")
      let made = try FileManager.default.contentsOfDirectory(atPath: more).sorted()
      #expect(made == ["shard-1-of-6", "shard-3-of-6", "shard-5-of-6"])
    }

    @Test("says in one line what it cannot do: exit 1; and what makes no sense: exit 64")
    func refusals() async throws {
      _ = try await written()
      for (arguments, words) in [
        (["--data-dir", directory.path("nowhere"), "--shards", "2", "--out", out], "no data here"),
        (["--data-dir", settings.data, "--shards", "300", "--out", out], "at most 256"),
        (
          ["--data-dir", settings.data, "--shards", "2", "--out", settings.data + "/x/y"],
          "which is not changed"
        ),
        (["--data-dir", settings.data, "--shards", "2", "--out", settings.data], "not changed"),
        (
          ["--data-dir", settings.data, "--shards", "2", "--out", directory.path("no/where")],
          "No such file or directory"
        ),
      ] {
        let outcome = try await Executable.split.run(arguments, in: directory)
        #expect(outcome.status == 1 && outcome.output == "", "\(arguments)")
        #expect(
          outcome.errors.contains(words) && outcome.errors.split(separator: "\n").count == 1,
          "\(outcome.errors)")
      }
      for arguments in [
        [], ["--data-dir", settings.data], ["--data-dir", settings.data, "--shards", "2"],
        ["--data-dir", settings.data, "--shards", "0", "--out", out],
        ["--data-dir", settings.data, "--shards", "two", "--out", out],
        ["--data-dir", settings.data, "--shards", "-2", "--out", out],
        ["--data-dir", "", "--shards", "2", "--out", out],
        ["--data-dir", settings.data, "--shards", "2", "--out", ""],
      ] {
        let outcome = try await Executable.split.run(arguments, in: directory)
        #expect(outcome.status == 64, "\(arguments)")
      }
      #expect(names() == [])
      #expect(try await split("--version").output == "0.1.0\n")
      #expect(try await split("--help").output.contains("--shards"))
    }

    @Test("is refused while a node has the directory, exit 1")
    func inUse() async throws {
      let node = try await ServedNode.start(settings)
      let outcome = try await split("--data-dir", settings.data, "--shards", "2", "--out", out)
      #expect(outcome.status == 1 && outcome.output == "")
      #expect(outcome.errors.contains("in use by process \(node.process.id)"))
      #expect(names() == [])
      try await node.stop()
    }

    @Test("names a damaged block, and makes nothing")
    func damage() async throws {
      _ = try await written(snapshotAtEnd: true)
      let snapshots = settings.data + "/snapshots"
      let name = try #require(
        try FileManager.default.contentsOfDirectory(atPath: snapshots)
          .filter { $0.hasSuffix(".snap") }.sorted().last)
      let file = try SnapshotFile(snapshots + "/" + name)
      let offset = file.footer.blocks[0].offset
      let handle = try FileHandle(forUpdating: URL(fileURLWithPath: file.path))
      try handle.seek(toOffset: offset + 40)
      let byte = try #require(try handle.read(upToCount: 1))
      try handle.seek(toOffset: offset + 40)
      try handle.write(contentsOf: Data([byte[0] ^ 1]))
      try handle.close()
      let before = try files()
      let outcome = try await split("--data-dir", settings.data, "--shards", "2", "--out", out)
      #expect(outcome.status == 1, "\(outcome.errors)")
      #expect(outcome.errors.contains("\(file.path): at byte \(offset): the block's checksum"))
      #expect(outcome.errors.split(separator: "\n").count == 1)
      #expect(names().allSatisfy { $0.hasSuffix(".partial") })
      #expect(try files() == before)
    }

    @Test("on a full disk says so, and leaves no child")
    func fullDisk() async throws {
      _ = try await written(snapshotAtEnd: true)
      let disk = try await SmallDisk.mount("size=12k", in: directory)
      let place = disk.path + "/out"
      let outcome = try await split("--data-dir", settings.data, "--shards", "2", "--out", place)
      #expect(outcome.status == 1)
      #expect(
        outcome.errors.contains("no space left on the disk. No shard was made"),
        "\(outcome.errors)")
      #expect(outcome.errors.split(separator: "\n").count == 1)
      let left = try FileManager.default.contentsOfDirectory(atPath: disk.path)
      #expect(left == [] || left == ["out"])
      if left == ["out"] {
        #expect(
          try FileManager.default.contentsOfDirectory(atPath: place)
            .allSatisfy { $0.hasSuffix(".partial") })
      }
    }

    @Test(
      "that is killed at any of its calls leaves children that are whole, or no child",
      arguments: [true, false])
    func killed(snapshotAtEnd: Bool) async throws {
      let all = try await written(snapshotAtEnd: snapshotAtEnd)
      let before = try files()
      var kills = 0
      for call in ["pwrite64", "fdatasync", "fsync", "rename", "mkdir"] {
        var number = 1
        var isDone = false
        while !isDone {
          let outcome = try await Executable.installed("strace").run(
            [
              "-f", "-o", "/dev/null", "-e", "trace=\(call)", "-e",
              "inject=\(call):signal=KILL:when=\(number)", Executable.split.url.path,
              "--data-dir", settings.data, "--shards", "2", "--out", out,
            ], in: directory)
          isDone = outcome.status == 0
          kills += isDone ? 0 : 1
          number += 1
          let whole = names().filter { !$0.hasSuffix(".partial") }
          if isDone { #expect(whole == ["shard-0-of-2", "shard-1-of-2"]) }
          for index: UInt32 in 0..<2 where whole.contains("shard-\(index)-of-2") {
            let found = try contents(index, of: 2)
            #expect(found == all.filter { shard(of: $0.key, 2) == index }, "\(call) \(number)")
          }
          #expect(try files() == before)
          // What has no name yet is used again.
          for name in whole { try FileManager.default.removeItem(atPath: out + "/" + name) }
        }
      }
      #expect(kills > 20)
    }
  }
}
