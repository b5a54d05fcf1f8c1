import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A node with thousands of connections") struct ManyConnectionsTests {
    private static let idleSeconds = 4
    private static let valueBytes = 4 << 20

    private static func raiseDescriptorLimit(to count: rlim_t) throws {
      var limit = rlimit()
      try #require(getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
      guard limit.rlim_cur < count else { return }
      try #require(
        limit.rlim_max >= count,
        "this test needs \(count) descriptors, and may have \(limit.rlim_max)")
      limit.rlim_cur = count
      try #require(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
    }

    /// The longest time that one of some reads and writes took.
    private static func slowest(_ node: ServedNode) throws -> Duration {
      let connection = try node.connect()
      let clock = ContinuousClock()
      return try (0..<200).map { number in
        let start = clock.now
        let status = try connection.put("prompt", "\(number)").status
        let text = try connection.get("prompt").text
        #expect([200, 201].contains(status) && text == "\(number)")
        return clock.now - start
      }.max()!
    }

    private struct Seen: Sendable {
      var slowest: [String: Duration] = [:]
      var residentBytes: [String: Int] = [:]
      var descriptors: [String: Int] = [:]
      var idleSeconds = 0.0
      var slowStatuses: [Int] = []
    }

    @Test("answers others promptly, stays small, and closes the idle ones")
    func idleAndSlow() async throws {
      try Self.raiseDescriptorLimit(to: 6_000)
      let directory = try TemporaryDirectory()
      var settings = ServedNode.Settings(in: directory)
      settings.flags = ["--idle-seconds", "\(Self.idleSeconds)"]
      let node = try await ServedNode.start(settings)
      let seen = try await Threads.runOne { try Self.load(node) }
      for (moment, time) in seen.slowest { #expect(time < .seconds(1), "\(moment)") }
      let start = try #require(seen.residentBytes["at first"])
      let most = try #require(seen.residentBytes.values.max())
      // 5,000 connections, and what 40 clients ask for: 160 MiB and more if it were copied.
      #expect(most - start < 120 << 20, "\(seen.residentBytes)")
      #expect(seen.descriptors["with all"]! > 5_000)
      #expect(seen.descriptors["in the end"]! <= seen.descriptors["at first"]! + 1)
      #expect(seen.idleSeconds >= Double(Self.idleSeconds) - 0.5)
      #expect(seen.idleSeconds < Double(Self.idleSeconds) + 6)
      // From the first byte on they have ten seconds for the head of a request.
      #expect(seen.slowStatuses == [Int](repeating: 408, count: 50))
      try await node.stop()
    }

    private static func load(_ node: ServedNode) throws -> Seen {
      var seen = Seen()
      try node.connect().send(
        HTTPRequest.put("large", String(repeating: "v", count: valueBytes)))
      let value = try node.connect()
      while try value.get("large").status != 200 {}
      func note(_ moment: String) throws {
        seen.slowest[moment] = try slowest(node)
        seen.residentBytes[moment] = try node.residentBytes()
        seen.descriptors[moment] = try node.openDescriptors()
      }
      try note("at first")
      // They never read; what they ask for is more than any buffer between.
      var readers = try (0..<40).map { _ in
        let reader = try HTTPConnection(to: node.address, receiveBufferBytes: 4 << 10)
        for _ in 0..<8 { try reader.send(HTTPRequest.get("large")) }
        return reader
      }
      // A byte at a time, of a request that never ends.
      let bytes = Array("GET /kv/prompt HTTP/1.1\r\nX-Long: ".utf8)
      let senders = try (0..<50).map { _ in try node.connect() }
      func drip(_ turn: Int) throws {
        let byte = turn < bytes.count ? bytes[turn] : UInt8(ascii: "x")
        for sender in senders { try? sender.send([byte]) }
      }
      let begun = ContinuousClock.now
      let idle = try (0..<5_000).map { _ in try node.connect() }
      let last = ContinuousClock.now
      #expect(readers.allSatisfy { !$0.hasEnded })
      try note("with all")
      try drip(0)
      var turn = 1
      // The last one is the youngest.
      while !idle[4_999].hasEnded {
        try drip(turn)
        turn += 1
        try #require(ContinuousClock.now - last < .seconds(30), "idle connections stay open")
        usleep(20_000)
      }
      seen.idleSeconds = Double((ContinuousClock.now - last).components.seconds)
      for connection in idle { try connection.receiveEnd() }
      try note("without the idle ones")
      while ContinuousClock.now - begun < .seconds(9) {
        try drip(turn)
        turn += 1
        usleep(50_000)
      }
      seen.slowStatuses = try senders.map { try $0.receive().status }
      for sender in senders { try sender.receiveEnd() }
      readers.removeAll()
      let end = ContinuousClock.now + .seconds(10)
      repeat {
        usleep(50_000)
        try note("in the end")
      } while seen.descriptors["in the end"]! > seen.descriptors["at first"]!
        && ContinuousClock.now < end
      return seen
    }
  }
}
