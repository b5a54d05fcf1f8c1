import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A link with faults", .serialized) struct FaultyLinkTests {
    /// A node behind a link, and a value in it.
    private func withLink(
      valueBytes: Int = 10_000, _ body: @escaping @Sendable (FaultyLink) throws -> Void
    ) async throws {
      let directory = try TemporaryDirectory()
      let node = try await ServedNode.start(.init(in: directory))
      let link = try FaultyLink(to: node.address)
      try await Threads.runOne {
        _ = try node.connect().put("key", String(repeating: "v", count: valueBytes))
        try body(link)
      }
      link.close()
      #expect(link.connections.open == 0)
      #expect(throws: ConnectionError.refused) { try HTTPConnection(to: link.address) }
      try await node.stop()
    }

    @Test("without faults is as none, and nothing of it is left")
    func plain() async throws {
      try await withLink { link in
        let connections = try (0..<20).map { _ in try HTTPConnection(to: link.address) }
        for connection in connections {
          let found = try connection.get("key").text
          #expect(found.count == 10_000)
        }
        withExtendedLifetime(connections) {
          #expect(link.connections.taken == 20 && link.connections.open == 20)
        }
        #expect(link.faults(.toFollower).passedBytes > 200_000)
      }
    }

    @Test("cuts at the byte, changes the bit, and refuses")
    func exact() async throws {
      try await withLink { link in
        let whole = try HTTPConnection(to: link.address).get("key")
        link.set(.toFollower) { $0.flip = (whole.head.utf8.count + 4 + 7, 1) }
        let changed = try HTTPConnection(to: link.address).get("key").body
        #expect(changed.enumerated().filter { $1 != whole.body[$0] }.map(\.offset) == [7])
        #expect(changed[7] == whole.body[7] ^ 2 && link.faults(.toFollower).flips == 1)
        let cut = try HTTPConnection(to: link.address)
        link.set(.toFollower) { $0.cutAfter = 100 }
        #expect(throws: ConnectionError.closed) { try cut.get("key") }
        #expect(link.faults(.toFollower).cuts == 1)
        link.refuseConnections(true)
        let deadline = ContinuousClock.now + .seconds(10)
        var isRefused = false
        while !isRefused, ContinuousClock.now < deadline {
          do { _ = try HTTPConnection(to: link.address) } catch { isRefused = true }
        }
        #expect(isRefused)
      }
    }

    @Test("takes and says nothing while it stands still, and goes on where it was")
    func stalled() async throws {
      try await withLink { link in
        let connection = try HTTPConnection(to: link.address, timeoutSeconds: 1)
        link.set(.toFollower) { $0.isStalled = true }
        try connection.send(.get("key"))
        #expect(throws: ConnectionError.timedOut) { try connection.receive() }
        link.heal()
        let found = try connection.receive().text
        #expect(found.count == 10_000)
        // What was swallowed does not come any more.
        link.set(.toLeader) { $0.isSwallowing = true }
        try connection.send(.get("key"))
        #expect(throws: ConnectionError.timedOut) { try connection.receive() }
        link.heal()
        let again = try connection.get("key").status
        #expect(again == 200)
        link.dropAll()
        try connection.receiveEnd()
      }
    }
  }
}
