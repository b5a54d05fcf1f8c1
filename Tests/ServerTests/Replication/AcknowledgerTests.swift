import Client
import NIOCore
import NIOPosix
import Server
import Synchronization
import Testing
import WAL

@Suite("A follower's acknowledgements")
struct AcknowledgerTests {
  private static let answer = "HTTP/1.1 204 No Content\r\nX-KV-Node: a\r\n"
  private static let plain = answer + "\r\n"
  private static let awaited = answer + "X-KV-Awaited: 1\r\n\r\n"

  /// What a leader was told, in order, and by how many connections.
  private final class Told: Sendable {
    let numbers = Mutex<[UInt64]>([])
    let connections = Atomic(0)

    var all: [UInt64] { numbers.withLock { $0 } }

    func note(_ index: Int, _ head: String) throws {
      if index == 0 { connections.add(1, ordering: .relaxed) }
      let line = try #require(head.split(separator: "\r\n").first)
      let prefix = "POST /wal/ack?replica=a%3A1&epoch=3-0000000000000007&seq="
      #expect(line.hasPrefix(prefix))
      let rest = line.dropFirst(prefix.count).split(separator: "&", maxSplits: 1)
      #expect(rest.last == "crc=000000ff&origin=0000000000000005 HTTP/1.1")
      let number = try #require(UInt64(rest[0]))
      numbers.withLock { $0.append(number) }
    }

    func await(_ what: Comment, _ holds: ([UInt64]) -> Bool) async throws {
      let end = ContinuousClock.now + .seconds(120)
      while !holds(all) {
        try #require(ContinuousClock.now < end, what)
        try await Task.sleep(for: .milliseconds(1))
      }
    }
  }

  /// - Parameters:
  ///   - react: to a request, by its number on its connection, of so many connections.
  ///   - body: gets what says that all is applied up to each of some numbers.
  private static func with(
    timeout: TimeAmount = .hours(1),
    _ react: @escaping @Sendable (Int, _ connections: Int) -> RawPeer.Reaction,
    _ body: (Told, @Sendable (ClosedRange<UInt64>) async throws -> Void) async throws -> Void
  ) async throws {
    let told = Told()
    try await RawPeer.with { index, head in
      do { try told.note(index, head) } catch { Issue.record(error) }
      return react(index, told.connections.load(ordering: .relaxed))
    } _: { peer in
      let loop = MultiThreadedEventLoopGroup.singleton.next()
      let address = try NodeAddress(parsing: peer.address)
      let acknowledger = try await loop.submit {
        NIOLoopBound(
          Acknowledger(
            address, id: "a:1", origin: 5, loop: loop, linkDelay: .zero, answerTimeout: timeout),
          eventLoop: loop)
      }.get()
      try await body(told) { sequences in
        try await loop.submit {
          for sequence in sequences {
            acknowledger.value.applied(
              LogPosition(epoch: Epoch(number: 3, node: 7), sequence: sequence, crc: 255))
          }
        }.get()
      }
      try await loop.submit { acknowledger.value.stop() }.get()
    }
  }

  @Test("follow each other without answers where they are awaited, eight of them")
  func window() async throws {
    try await Self.with { index, _ in
      index == 0 ? .bytes(Self.awaited) : .silence
    } _: {
      told, apply in
      try await apply(1...1)
      try await told.await("the first") { $0 == [1] }
      // Its answer may be on its way yet: then the newest goes first.
      try await apply(2...40)
      try await told.await("some") { $0.count > 1 }
      try await apply(41...80)
      try await told.await("eight more") { $0.count == 9 }
      try await Task.sleep(for: .milliseconds(50))
      #expect(told.all.count == 9 && told.all == told.all.sorted())
      #expect(told.connections.load(ordering: .relaxed) == 1)
    }
  }

  @Test("end with the newest", arguments: [plain, awaited])
  func newest(answer: String) async throws {
    try await Self.with { _, _ in
      .bytes(answer)
    } _: { told, apply in
      for first in stride(from: 1, to: 500, by: 50) as StrideTo<UInt64> {
        try await apply(first...first + 49)
      }
      try await told.await("the last") { $0.last == 500 }
      #expect(told.all == told.all.sorted() && Set(told.all).count == told.all.count)
      #expect(told.connections.load(ordering: .relaxed) == 1)
    }
  }

  @Test("come one by one where nobody waits for them")
  func oneByOne() async throws {
    try await Self.with { index, _ in
      index < 3 ? .bytes(Self.plain) : .silence
    } _: {
      told, apply in
      for round in 1...4 {
        let first = UInt64(round * 100)
        try await apply(first...first + 9)
        // The first of each, where nothing was under way; or the last.
        try await told.await("one more") { $0.count >= round }
      }
      try await apply(1_000...1_009)
      try await Task.sleep(for: .milliseconds(50))
      #expect(told.all.count == 4 && told.all == told.all.sorted() && told.all.last! < 1_000)
    }
  }

  @Test(
    "are said again over a new connection when the answer is none, or no good one",
    arguments: [
      "HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n{}", "nonsense that is no answer\r\n\r\n",
      plain + plain, "",
    ])
  func again(answer: String) async throws {
    try await Self.with { index, connections in
      guard connections == 1 else { return .bytes(Self.awaited) }
      return index == 0 ? .bytes(Self.awaited) : answer.isEmpty ? .close : .bytes(answer)
    } _: { told, apply in
      try await apply(1...1)
      try await told.await("the first") { $0 == [1] }
      try await Task.sleep(for: .milliseconds(20))
      try await apply(2...2)
      try await told.await("what went wrong") { $0.count >= 2 }
      try await apply(3...3)
      try await told.await("the newest") { $0.last == 3 }
      #expect(told.connections.load(ordering: .relaxed) <= 2)
    }
  }

  @Test("are said again over a new connection when nothing is answered for long")
  func silence() async throws {
    try await Self.with(timeout: .milliseconds(100)) { _, connections in
      connections < 3 ? .silence : .bytes(Self.plain)
    } _: { told, apply in
      try await apply(1...1)
      try await told.await("a third one") { $0.count == 3 }
      #expect(told.all == [1, 1, 1] && told.connections.load(ordering: .relaxed) == 3)
    }
  }

  @Test("go on over a new connection where the leader closes the one before in order")
  func closed() async throws {
    let closing = Self.answer + "Connection: close\r\n\r\n"
    try await Self.with { _, _ in
      .bytes(closing)
    } _: { told, apply in
      for number in 1...5 as ClosedRange<UInt64> {
        try await apply(number...number)
        try await told.await("each") { $0.last == number }
      }
      #expect(told.all == [1, 2, 3, 4, 5] && told.connections.load(ordering: .relaxed) == 5)
    }
  }
}
