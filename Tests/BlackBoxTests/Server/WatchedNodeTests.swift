import Foundation
import Testing
import WAL

extension NodeProcessTests {
  @Suite("A node that is watched") struct WatchedNodeTests {
    /// A change as a watcher sees it, and as the log has it.
    struct Change: Hashable, Sendable {
      var sequence: UInt64
      var key: String
      /// Nil where the key is removed.
      var value: String?
    }

    /// A client that follows the log, and goes on behind its last change on every connection.
    struct Watcher: Sendable {
      var changes: [Change] = []
      var next: UInt64 = 1
      var epoch: String?
      var faults: [String] = []

      /// Follows until the connection ends, or that number has come.
      mutating func follow(_ address: LoopbackAddress, through last: UInt64 = .max) {
        do {
          let connection = try HTTPConnection(to: address)
          let history = epoch.map { "&epoch=\($0)" } ?? ""
          try connection.send(HTTPRequest(method: "GET", target: "/watch?from=\(next)\(history)"))
          let head = try connection.receive()
          guard head.status == 200 else {
            faults.append("from \(next): \(head.status) \(head.head)")
            return
          }
          for line in head.head.split(separator: "\r\n") where line.hasPrefix("X-KV-Epoch: ") {
            epoch = String(line.dropFirst(12))
          }
          var rest: [UInt8] = []
          while next <= last, let chunk = try connection.receiveChunk() {
            rest += chunk
            while let end = rest.firstIndex(of: 10) {
              if end > 0 { try take(Data(rest[..<end])) }
              rest.removeSubrange(...end)
            }
          }
        } catch ConnectionError.closed, ConnectionError.refused {
          // The node was killed. Half a line is none.
        } catch {
          faults.append("from \(next): \(error)")
        }
      }

      private mutating func take(_ line: Data) throws {
        let object = try JSONSerialization.jsonObject(with: line) as? [String: Any] ?? [:]
        guard let sequence = (object["seq"] as? NSNumber)?.uint64Value,
          let operation = object["op"] as? String, let key = object["key"] as? String
        else {
          faults.append("a line of another kind: \(String(decoding: line, as: UTF8.self))")
          return
        }
        let value = object["value"] as? String
        if (operation == "put") != (value != nil) { faults.append("\(sequence): \(operation)") }
        if sequence < next { faults.append("\(sequence) comes behind \(next - 1)") }
        changes.append(Change(sequence: sequence, key: key, value: value))
        next = sequence + 1
      }
    }

    /// What the log has.
    private static func changes(_ data: String) throws -> [Change] {
      var reader = try LogReader(directory: data + "/wal")
      var changes: [Change] = []
      while case .frame(let header) = try reader.next() {
        try reader.withRecords { records in
          var cursor = RecordCursor(count: header.recordCount)
          var sequence = header.firstSequence
          while let record = try cursor.next(in: records) {
            if record.type == .put || record.type == .delete {
              let key = records.extracting(record.key).withUnsafeBytes { Array($0) }
              let value = records.extracting(record.value).withUnsafeBytes { Array($0) }
              changes.append(
                Change(
                  sequence: sequence, key: String(decoding: key, as: UTF8.self),
                  value: record.type == .put ? String(decoding: value, as: UTF8.self) : nil))
            }
            sequence += 1
          }
        }
      }
      return changes
    }

    @Test("and killed under many writers tells each watcher every change once, in order")
    func killedAndResumed() async throws {
      let directory = try TemporaryDirectory()
      var settings = ServedNode.Settings(in: directory)
      var numbers = SeededNumbers(seed: 21)
      var writers = (0..<8).map {
        NodeWriter("w\($0)", depth: $0 % 2 == 0 ? 1 : 8, seed: 300 + UInt64($0))
      }
      // One is there from the start; one comes with every other round, and reads what was before.
      var watchers = [Watcher()]
      for round in 0..<6 {
        settings.flags = [
          "--segment-bytes", ["16384", "65536", "1048576"][round % 3],
          "--fast-lane", round % 2 == 0 ? "on" : "off", "--threads", ["1", "3"][round % 2],
        ]
        if round % 2 == 1 { watchers.append(Watcher()) }
        let node = try await ServedNode.start(settings)
        let address = node.address
        let (begun, following) = (writers, watchers)
        async let written = Threads.run(begun.count) { index in
          var writer = begun[index]
          writer.write(to: address)
          return writer
        }
        async let followed = Threads.run(following.count) { index in
          var watcher = following[index]
          watcher.follow(address)
          return watcher
        }
        try await Task.sleep(for: .milliseconds(Int.random(in: 150...500, using: &numbers)))
        try await node.kill()
        writers = try await written
        watchers = try await followed
        // What they did not hear of may be written all the same.
        let again = try await ServedNode.start(settings)
        let checking = writers
        writers = try await Threads.runOne {
          let connection = try again.connect()
          var checked = checking
          for index in checked.indices { _ = try checked[index].check(connection) }
          return checked
        }
        try await again.kill()
      }
      let log = try Self.changes(settings.data)
      let last = try #require(log.last).sequence
      let node = try await ServedNode.start(settings)
      let address = node.address
      let following = watchers
      watchers = try await Threads.run(following.count) { index in
        var watcher = following[index]
        if watcher.next <= last { watcher.follow(address, through: last) }
        return watcher
      }
      try await node.stop()
      #expect(log.count > 500)
      for watcher in watchers {
        #expect(watcher.faults == [])
        #expect(watcher.changes.count == log.count)
        #expect(watcher.changes == log)
      }
    }

    @Test("by clients that take nothing keeps no more memory for them, and serves the others")
    func slowWatchers() async throws {
      let directory = try TemporaryDirectory()
      var settings = ServedNode.Settings(in: directory)
      settings.flags = ["--segment-bytes", "4194304"]
      let node = try await ServedNode.start(settings)
      let address = node.address
      let value = String(repeating: "v", count: 100_000)
      let used = try await Threads.runOne {
        let writer = try node.connect()
        // The same key: what the node keeps of it is one value.
        for _ in 0..<400 { _ = try writer.put("key", value) }
        let before = try node.residentBytes()
        let slow = try (0..<40).map { _ in
          let connection = try HTTPConnection(to: address, receiveBufferBytes: 4_096)
          try connection.send(HTTPRequest(method: "GET", target: "/watch?from=1"))
          _ = try connection.receive()
          return connection
        }
        for _ in 0..<399 { _ = try writer.put("key", value) }
        let answer = try writer.put("key", value)
        let version = answer.head.split(separator: "\r\n").first { $0.hasPrefix("X-KV-Version: ") }
        let last = try #require(version.flatMap { UInt64($0.dropFirst(14)) })
        let after = try node.residentBytes()
        // Somebody who does take what comes gets all of it meanwhile.
        var watcher = Watcher()
        watcher.follow(address, through: last)
        guard watcher.faults.isEmpty, watcher.changes.count == 800 else {
          throw ConnectionError.malformed("\(watcher.changes.count) \(watcher.faults)")
        }
        // And a slow one that begins to take, too.
        var bytes = 0
        while bytes < 800 * 100_000, let chunk = try slow[0].receiveChunk() { bytes += chunk.count }
        withExtendedLifetime(slow) {}
        return after - before
      }
      // Less than 1 MiB for each, and what is recent once for all of them: not 40 times 80 MB.
      #expect(used < 60 << 20, "\(used) bytes")
      try await node.stop()
    }
  }
}
