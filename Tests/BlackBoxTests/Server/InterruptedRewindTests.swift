import Foundation
import Testing

extension NodeProcessTests {
  /// strace kills the node when a call of its rewind begins, which is not made then.
  @Suite("A rewind that is interrupted") struct InterruptedRewindTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    /// A call that changes files, as the thread that rewinds makes it.
    private struct Step: Hashable, CustomStringConvertible {
      let call: String
      /// The file, or one of the two.
      let path: String
      /// The thread's calls of that name on that path up to it.
      let number: Int

      var description: String { "\(call) \(path), \(number)." }

      var tracing: [String] {
        [
          "-P", path, "-e", "trace=\(call)", "-e", "inject=\(call):signal=KILL:when=\(number)",
        ]
      }
    }

    private static let calls = [
      "openat", "pwrite64", "fdatasync", "fsync", "rename", "unlink", "mkdir", "ftruncate",
      "fallocate",
    ]

    /// The calls from the note that a rewind begins, to the removal of the note and behind.
    private static func steps(_ text: String, data: String) throws -> [Step] {
      let trace = SystemCallTrace(text)
      let note = data + "/wal/rewind"
      let begin = try #require(
        trace.calls.first { $0.name == "openat" && $0.text.contains("\"\(note).tmp\"") })
      let calls = trace.calls.filter { $0.thread == begin.thread }
      let first = try #require(calls.firstIndex { $0.start == begin.start })
      let removal = try #require(
        calls.lastIndex { $0.name == "unlink" && $0.text.contains("\"\(note)\"") })
      // The directory's sync behind it.
      let last = min(removal + 1, calls.count - 1)
      return calls[first...last].compactMap { call in
        guard !call.text.contains("O_RDONLY"), let path = path(of: call) else { return nil }
        let number = calls.count {
          $0.start <= call.start && $0.name == call.name && self.path(of: $0) == path
        }
        return Step(call: String(call.name), path: path, number: number)
      }
    }

    /// What a call is about: the name that it is given first, or that of its descriptor.
    private static func path(of call: SystemCallTrace.Call) -> String? {
      if ["openat", "rename", "unlink", "mkdir"].contains(call.name) {
        return call.text.split(separator: "\"", omittingEmptySubsequences: false)
          .dropFirst().first.map(String.init)
      }
      return call.file.isEmpty ? nil : String(call.file)
    }

    private func kv(_ arguments: [String]) async throws -> Outcome {
      try await Executable.kv.run(arguments, in: directory)
    }

    private static func isEpoch(_ epoch: Int, at node: ServedNode) -> Bool {
      // While it is being taken back nothing is served, and connections may end.
      ((try? ReplicaSet.status(node))?["epoch"] as? Int) == epoch
    }

    private static func awaitEpoch(_ epoch: Int, at node: ServedNode) async throws {
      try await Threads.runOne {
        let deadline = ContinuousClock.now + .seconds(30)
        while !isEpoch(epoch, at: node) {
          guard ContinuousClock.now < deadline else {
            throw ReplicaSet.NotInTime(description: "\(node.address) is not in epoch \(epoch)")
          }
          Thread.sleep(forTimeInterval: 0.01)
        }
      }
    }

    /// Runs the node until strace has killed it, or it follows in that epoch; then it is gone.
    ///
    /// - Returns: whether strace has.
    private static func run(
      _ settings: ServedNode.Settings, untilEpoch epoch: Int
    ) async throws -> Bool {
      let node = try ServedNode(settings)
      do {
        _ = try await node.process.errors { _ in Self.isEpoch(epoch, at: node) }
      } catch let end as RunningProcess.Timeout {
        let outcome = try await node.process.outcome()
        #expect(outcome.status == -SIGKILL, "\(end.errors)")
        return true
      }
      try await node.kill()
      return false
    }

    private func write(_ pairs: [(String, String)], to node: ServedNode) async throws {
      let statuses = try await Threads.runOne {
        let connection = try node.connect()
        return try pairs.map { try connection.put($0.0, $0.1).status }
      }
      #expect(statuses.allSatisfy { $0 == 200 || $0 == 201 }, "\(statuses)")
    }

    private func snapshot(_ node: ServedNode) async throws {
      let status = try await Threads.runOne {
        try node.connect().exchange(HTTPRequest(method: "POST", target: "/admin/snapshot")).status
      }
      #expect(status == 200)
    }

    @Test("at whichever call is finished by the next start, and loses nothing")
    func everyCall() async throws {
      let set = try ReplicaSet(in: directory, replicas: 1)
      let value = String(repeating: "v", count: 3_000)
      let old = try await set.start(0)
      let replica = try await set.start(1)
      try await write((0..<30).map { ("key-\($0)", "common-\($0)") }, to: old)
      try await snapshot(old)
      try await write((0..<10).map { ("key-\($0)", "again-\($0)") }, to: old)
      try await ReplicaSet.catchUp(old, [replica])
      try await replica.kill()
      // The tail goes over several segments, and a snapshot is of a part of it.
      try await write((0..<30).map { ("lost-\($0)", value) }, to: old)
      try await snapshot(old)
      try await write((0..<30).map { ("key-\($0)", "lost-\($0) \(value)") }, to: old)
      try await old.kill()
      let leader = try await set.start(1)
      let promoted = try await kv(["promote", "--http-addr", "\(leader.address)"])
      #expect(promoted.status == 0, "\(promoted.errors)")
      try await write((5..<15).map { ("key-\($0)", "new-\($0)") }, to: leader)
      let template = directory.path("template")
      let data = set.settings[0].data
      try FileManager.default.moveItem(atPath: data, toPath: template)
      func restore() throws {
        try? FileManager.default.removeItem(atPath: data)
        try FileManager.default.copyItem(atPath: template, toPath: data)
      }

      try restore()
      var traced = set.settings[0]
      traced.tracing = ["-e", "trace=" + Self.calls.joined(separator: ",")]
      let whole = try await ServedNode.start(traced)
      try await Self.awaitEpoch(2, at: whole)
      try await whole.kill()
      let steps = try Self.steps(try await whole.traceText(), data: data)
      #expect(steps.count > 25, "\(steps)")
      let list = ["diverged", "--data-dir", data, "--values", "--json"]
      let expected = try await kv(list)
      #expect(expected.lines.last == "{\"tails\":1,\"records\":60}", "\(expected.errors)")

      var interrupted = 0
      for (number, step) in steps.enumerated() {
        try restore()
        traced.tracing = step.tracing
        let isKilled = try await Self.run(traced, untilEpoch: 2)
        let note = FileManager.default.fileExists(atPath: data + "/wal/rewind")
        if isKilled, note { interrupted += 1 }
        // What goes on behind it is interrupted, too.
        traced.tracing = steps[(number * 7 + 3) % steps.count].tracing
        _ = try await Self.run(traced, untilEpoch: 2)
        let back = try await set.start(0)
        try await Self.awaitEpoch(2, at: back)
        try await ReplicaSet.catchUp(leader, [back])
        try await ReplicaSet.expectEqual([leader, back], "\(step)")
        try await back.kill()
        let found = try await kv(list)
        #expect(found.output == expected.output, "\(step): \(found.output.prefix(200))")
        let verdict = try await Executable.dump.run(["--verify", data], in: directory)
        #expect(verdict.status == 0, "\(step): \(verdict.output)")
      }
      // Not those before the note is there, and behind its removal; and a few are on files that another thread
      // has as many calls on when it opens the log.
      #expect(interrupted > steps.count * 2 / 3, "\(interrupted) of \(steps.count)")
      try await leader.stop()
    }
  }
}
