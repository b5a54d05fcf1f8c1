import Server
import Synchronization
import Testing
import WAL

@Suite("A hand-over that comes to nothing") struct FailedHandOverTests {
  private final class Leader: Sendable {
    let node = Mutex<RunningNode?>(nil)
    let promised = Mutex("")
  }

  @Test("behind the leader's promise ends with the leader leading again, above it")
  func leadsAgain() async throws {
    let leader = Leader()
    try await FakeMember.with({ request in
      guard let node = leader.node.withLock({ $0 }) else { return FakeMember.Answer(status: 503) }
      if request.head.uri.hasPrefix("/admin/promise") {
        return FakeMember.Answer(
          status: 409, body: #"{"error":"known","highest":"9-00000000000000aa"}"#)
      }
      guard request.head.uri.hasPrefix("/admin/promote") else {
        return FakeMember.Answer(status: 404)
      }
      // It has the leader's promise, and then something fails.
      do {
        let origin = try await node.ask("GET", "/wal/position").text.prefix(16)
        let answer = try await node.ask(
          "POST", "/admin/promise?epoch=9-00000000000000aa&origin=\(origin)")
        leader.promised.withLock { $0 = answer.text }
      } catch {
        Issue.record("\(error)")
      }
      return FakeMember.Answer(status: 500, body: "no")
    }) { member in
      try await RunningNode.with(
        .fast,
        {
          $0.members = [
            Member(id: "node", address: "127.0.0.1:1"), Member(id: "b", address: member.address),
          ]
        }
      ) { node in
        leader.node.withLock { $0 = node }
        let written = try await node.ask("PUT", "/kv/k", body: "v")
        let version = try #require(written["x-kv-version"].flatMap { UInt64($0) })
        let stream = try await LogStreamClient(node, "from=1&replica=b")
        // And the mark behind it: then the log is quiet.
        let last = try await stream.frames(through: version + 1).last!
        try await #expect(node.acknowledge(last.header.position, by: "b").status == 204)
        try await node.awaitStatus(#""state":"streaming""#)
        let failed = try await node.ask("POST", "/admin/handover?to=b")
        #expect(failed.status == 503 && failed.text.contains("not handed over"), "\(failed.text)")
        #expect(leader.promised.withLock { $0 }.contains(#""promised":"9-00000000000000aa""#))
        // It leads: what was kept meanwhile is written here, and so is what comes.
        try await #expect(node.ask("PUT", "/kv/k", body: "w").status == 200)
        let status = try await node.ask("GET", "/status").text
        #expect(status.contains(#""epoch":10,"#) && status.contains(#""role":"leader""#))
        leader.node.withLock { $0 = nil }
      }
    }
  }
}
