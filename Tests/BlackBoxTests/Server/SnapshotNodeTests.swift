import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A node that makes snapshots all the time") struct SnapshotNodeTests {
    private static let flags = ["--segment-bytes", "16384", "--snapshot-wal-bytes", "65536"]

    private static func bytes(in directory: String) throws -> Int {
      var sum = 0
      let names = FileManager.default.enumerator(atPath: directory)
      while let name = names?.nextObject() as? String {
        // A file may go while it is looked at.
        var status = stat()
        if stat(directory + "/" + name, &status) == 0 { sum += Int(status.st_blocks) * 512 }
      }
      return sum
    }

    private static func snapshots(in data: String) throws -> [String] {
      try FileManager.default.contentsOfDirectory(atPath: data + "/snapshots")
        .filter { $0.hasSuffix(".snap") }.sorted()
    }

    private static var snapshotRequest: HTTPRequest {
      HTTPRequest(method: "POST", target: "/admin/snapshot")
    }

    /// Asks for snapshots until the node is gone.
    private static func askForSnapshots(_ address: LoopbackAddress) -> Int {
      var made = 0
      do {
        let connection = try HTTPConnection(to: address)
        while true {
          let answer = try connection.exchange(Self.snapshotRequest)
          if answer.status == 200 { made += 1 }
        }
      } catch {}
      return made
    }

    @Test("keeps what it acknowledged when it is killed at any moment")
    func killed() async throws {
      let directory = try TemporaryDirectory()
      var settings = ServedNode.Settings(in: directory)
      settings.flags = Self.flags
      var numbers = SeededNumbers(seed: 12)
      var writers = (0..<6).map {
        NodeWriter("w\($0)", depth: $0 % 2 == 0 ? 1 : 8, seed: 900 + UInt64($0))
      }
      var made = 0
      for round in 0..<24 {
        for _ in 0..<(round % 3) {
          let starting = try ServedNode(settings)
          try await Task.sleep(for: .microseconds(Int.random(in: 0...30_000, using: &numbers)))
          try await starting.kill()
        }
        let node = try await ServedNode.start(settings)
        writers = try await Self.check(writers, node, "round \(round)")
        let address = node.address
        let begun = writers
        async let ended = Threads.run(begun.count) { index in
          var writer = begun[index]
          writer.write(to: address)
          return writer
        }
        async let asked = Threads.runOne { Self.askForSnapshots(address) }
        try await Task.sleep(for: .milliseconds(Int.random(in: 40...500, using: &numbers)))
        try await node.kill()
        writers = try await ended
        made += try await asked
        #expect(try Self.snapshots(in: settings.data).count <= 3, "round \(round)")
      }
      let node = try await ServedNode.start(settings)
      writers = try await Self.check(writers, node, "in the end")
      _ = try await Threads.runOne {
        try node.connect().exchange(Self.snapshotRequest)
      }
      try await Self.expectShort(settings.data)
      try await node.stop()
      #expect(made > 24 && writers.map(\.history.acknowledgedCount).reduce(0, +) > 1_000)
      #expect(!FileManager.default.fileExists(atPath: settings.data + "/quarantine"))
    }

    /// Two snapshots, no temporary file, and the log behind the older snapshot only: soon, because the
    /// log that is given up goes in the background.
    private static func expectShort(_ data: String) async throws {
      for _ in 0..<1_000 where try !isShort(data) { try await Task.sleep(for: .milliseconds(20)) }
      #expect(try isShort(data))
    }

    private static func isShort(_ data: String) throws -> Bool {
      let all = try FileManager.default.contentsOfDirectory(atPath: data + "/snapshots")
      let snapshots = try snapshots(in: data)
      guard snapshots.count <= 2, !all.contains(where: { $0.hasSuffix(".tmp") }) else {
        return false
      }
      let log = try FileManager.default.contentsOfDirectory(atPath: data + "/wal")
        .filter { $0.hasSuffix(".wal") }.sorted()
      let older = UInt64(snapshots[0].prefix(20))!
      // Of two neighbours the first holds something behind it.
      return log.dropFirst().allSatisfy { UInt64($0.prefix(20))! > older + 1 }
    }

    private static func check(
      _ begun: [NodeWriter], _ node: ServedNode, _ moment: String
    ) async throws -> [NodeWriter] {
      let checked = try await Threads.runOne {
        let connection = try node.connect()
        var writers = begun
        var faults: [String] = []
        for index in writers.indices { faults += try writers[index].check(connection) }
        return (writers, faults)
      }
      #expect(checked.1 == [], "\(moment)")
      return checked.0
    }

    @Test("takes a bounded part of the disk however often the same keys are written")
    func bounded() async throws {
      let directory = try TemporaryDirectory()
      var settings = ServedNode.Settings(in: directory)
      settings.flags = [
        "--segment-bytes", "1048576", "--snapshot-wal-bytes", "4194304", "--sync", "none",
      ]
      let node = try await ServedNode.start(settings)
      let data = settings.data
      for _ in 0..<20 {
        try await Threads.runOne {
          let connection = try node.connect()
          let value = String(repeating: "v", count: 60_000)
          for number in 0..<200 { _ = try connection.put("key-\(number % 20)", value) }
        }
        // Snapshots are made at the lowest priority, and may take a while: but they catch up, to what
        // makes two of them due.
        for _ in 0..<3_000 where try Self.bytes(in: data) > 24 << 20 {
          try await Task.sleep(for: .milliseconds(20))
        }
        #expect(try Self.bytes(in: data) <= 24 << 20)
      }
      let answer = try await Threads.runOne {
        try node.connect().exchange(Self.snapshotRequest)
      }
      #expect(answer.status == 200)
      try await Self.expectShort(data)
      try await node.stop()
      let again = try await ServedNode.start(settings)
      let keys = try await Threads.runOne {
        try again.connect().exchange(.status).members()["keys"] as? Int
      }
      #expect(keys == 20)
      try await again.stop()
    }
  }
}
