import Foundation
import Testing

extension NodeProcessTests {
  /// The node writes a frame with `pwrite64` and syncs it with `fdatasync`, on one thread; strace
  /// counts the calls of each thread. A node starts its first segment with two records of its own.
  @Suite("A node whose disk fails") struct FailedCallTests {
    /// What one client saw: its writes, one at a time.
    private struct Seen: Sendable {
      var acknowledged: [String] = []
      /// Key and status of the first that was not; nil where the connection ended.
      var failed: (key: String, status: Int?)?
    }

    /// Settings with a fault at calls on one file. By default that is the first segment: what is
    /// done to make the next one ready counts for nothing then.
    private func settings(
      _ inject: String, file: String = "/00000000000000000001.wal", flags: [String] = []
    ) throws -> ServedNode.Settings {
      var settings = ServedNode.Settings(in: try TemporaryDirectory())
      let call = inject.prefix { $0 != ":" }
      settings.flags += flags
      settings.tracing = [
        "-P", settings.data + "/wal" + file, "-e", "trace=\(call)", "-e", "inject=\(inject)",
      ]
      return settings
    }

    /// Writes until one is not acknowledged.
    private static func write(_ node: ServedNode, client: Int) throws -> Seen {
      var seen = Seen()
      var key = ""
      do {
        let connection = try node.connect()
        for number in 0..<1_000 {
          key = "key-\(client)-\(number)"
          let answer = try connection.put(key, "value of \(key)")
          guard answer.status == 201 else {
            seen.failed = (key, answer.status)
            return seen
          }
          seen.acknowledged.append(key)
        }
      } catch ConnectionError.closed, ConnectionError.refused {
        seen.failed = (key, nil)
      }
      return seen
    }

    /// Starts again without faults: everything acknowledged is there.
    private func expectKept(
      _ seen: [Seen], _ settings: ServedNode.Settings
    ) async throws {
      var settings = settings
      settings.tracing = nil
      let node = try await ServedNode.start(settings)
      let keys = seen.flatMap(\.acknowledged)
      let found = try await Threads.runOne { try NodeWriter.read(keys, try node.connect()) }
      #expect(keys.filter { found[$0] != "value of \($0)" } == [])
      try await node.stop()
    }

    @Test(
      "acknowledges nothing after a sync or a write that failed, says so, and ends",
      arguments: [("fdatasync", "cannot sync"), ("pwrite64", "cannot write")], [1, 8])
    func stops(_ call: (name: String, words: String), clients: Int) async throws {
      let settings = try settings("\(call.name):error=EIO:when=12")
      let node = try await ServedNode.start(settings)
      let seen = try await Threads.run(clients) { try Self.write(node, client: $0) }
      let outcome = try await node.process.outcome()
      #expect(outcome.status == 1)
      let line = outcome.errors.split(separator: "\n").last ?? ""
      #expect(line.contains("critical") && line.contains(call.words), "\(line)")
      #expect(line.contains("00000000000000000001.wal") && line.contains("Input/output error"))
      for client in seen {
        let failed = try #require(client.failed)
        #expect(failed.status.map { $0 >= 500 } ?? true, "\(failed)")
      }
      #expect(seen.contains { !$0.acknowledged.isEmpty })
      try await expectKept(seen, settings)
    }

    @Test("answers 507 while there is no space, reads on, and writes again by itself")
    func noSpace() async throws {
      let settings = try settings("pwrite64:error=ENOSPC:when=8..12")
      let node = try await ServedNode.start(settings)
      let seen = try await Threads.runOne { () throws -> (seen: Seen, refusals: [String]) in
        let connection = try node.connect()
        var seen = Seen()
        var refusals: [String] = []
        for number in 0..<40 {
          let key = "key-\(number)"
          let answer = try connection.put(key, "value of \(key)")
          switch answer.status {
          case 201: seen.acknowledged.append(key)
          case 507:
            refusals.append(answer.text)
            #expect(try connection.get(key).status == 404)
            for key in seen.acknowledged {
              #expect(try connection.get(key).text == "value of \(key)")
            }
          default: Issue.record("\(answer.status) \(answer.text)")
          }
        }
        return (seen, refusals)
      }
      // A mark of a quiet log can take one or two of the failures.
      #expect((1...5).contains(seen.refusals.count))
      #expect(seen.refusals.allSatisfy { $0.contains("no space left on the disk") })
      #expect(seen.refusals.allSatisfy { $0.contains("nothing was written") })
      #expect(seen.seen.acknowledged.count + seen.refusals.count == 40)
      try await node.kill()
      try await expectKept([seen.seen], settings)
    }

    @Test("fails a classic write without space with the same status")
    func classicNoSpace() async throws {
      let settings = try settings("pwrite64:error=ENOSPC:when=4+")
      let node = try await ServedNode.start(settings)
      let answers = try await Threads.runOne {
        let connection = try node.connect()
        return try (0..<8).map { try connection.exchange(.classicSet("key", "\($0)")) }
      }
      let last = try #require(answers.last)
      #expect(last.status == 507)
      #expect(last.text.hasPrefix("Error = no space left on the disk: nothing was written, "))
      try await node.kill()
    }

    @Test(
      "ends after a sync in the background that failed, too", arguments: ["interval:5", "none"])
    func background(_ sync: String) async throws {
      let settings = try settings("fdatasync:error=EIO:when=2", flags: ["--sync", sync])
      let node = try await ServedNode.start(settings)
      let seen = try await Threads.runOne {
        // A log that is quiet for a moment is synced under each policy.
        let connection = try node.connect()
        var seen = Seen()
        do {
          for number in 0..<40 {
            let key = "key-\(number)"
            guard try connection.put(key, "value of \(key)").status == 201 else { break }
            seen.acknowledged.append(key)
            if number > 0 { usleep(150_000) }
          }
        } catch ConnectionError.closed, ConnectionError.refused {}
        return seen
      }
      let outcome = try await node.process.outcome()
      #expect(outcome.status == 1 && outcome.errors.contains("cannot sync"))
      #expect((1..<40).contains(seen.acknowledged.count))
      // The process is gone, the system is not: what it has is there.
      try await expectKept([seen], settings)
    }

    @Test("acknowledges nothing in a segment whose name may not be on the disk")
    func directorySync() async throws {
      // Its first start syncs the directory in another number of steps.
      var settings = try settings(
        "fsync:error=EIO:when=5", file: "", flags: ["--segment-bytes", "4096"])
      let tracing = settings.tracing
      settings.tracing = nil
      try await ServedNode.start(settings).stop()
      settings.tracing = tracing
      let node = try await ServedNode.start(settings)
      let seen = try await Threads.run(4) { try Self.write(node, client: $0) }
      let outcome = try await node.process.outcome()
      #expect(outcome.status == 1)
      #expect(outcome.errors.contains("/wal: cannot sync directory: Input/output error"))
      try await expectKept(seen, settings)
    }

    @Test("answers reads while a sync hangs, and the write when it is over")
    func hangs() async throws {
      let settings = try settings("fdatasync:delay_enter=700000:when=6")
      let node = try await ServedNode.start(settings)
      let address = node.address
      async let slowest = Threads.runOne {
        let connection = try HTTPConnection(to: address)
        return try (0..<10).map { number in
          let start = ContinuousClock.now
          let status = try connection.put("key-\(number)", "value").status
          #expect(status == 201)
          return ContinuousClock.now - start
        }.max()!
      }
      let slowestRead = try await Threads.runOne {
        let connection = try HTTPConnection(to: address)
        return try (0..<200).map { _ in
          let start = ContinuousClock.now
          _ = try connection.get("key-0")
          usleep(5_000)
          return ContinuousClock.now - start
        }.max()!
      }
      #expect(try await slowest >= .milliseconds(700))
      #expect(slowestRead < .milliseconds(300))
      try await node.stop()
    }
  }
}
