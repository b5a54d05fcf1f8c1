import Glibc
import NIOCore
import Server
import SimulatedDisk
import Testing
import WAL

@Suite("The log, as it is shipped") struct LogStreamTests {
  typealias Frames = [(header: FrameHeader, bytes: [UInt8])]

  /// Writes of one and of several records; returns the last number.
  @discardableResult
  private static func write(_ node: RunningNode, _ count: Int = 20) async throws -> UInt64 {
    let client = try node.connect()
    var last: UInt64 = 0
    for number in 0..<count {
      let value = String(repeating: "v", count: number * 31 % 700)
      var answer = try await client.ask("PUT", "/kv/k\(number)", body: value)
      if number % 4 == 3 {
        let line = #"{"op":"put","key":"b\#(number)","value":"\#(value)"}"# + "\n"
        answer = try await client.ask("POST", "/batch", body: line + line + line)
      }
      last = try #require(answer["x-kv-version"].flatMap { UInt64($0) })
    }
    return last
  }

  private static func expectSame(_ found: Frames, _ log: Frames, from: UInt64) {
    let expected = log.filter { $0.header.lastSequence >= from }.prefix(found.count)
    #expect(found.map(\.bytes) == expected.map(\.bytes))
  }

  // MARK: - Frames

  @Test("comes byte for byte from any number on, and then as it is written")
  func fromAnyNumber() async throws {
    try await RunningNode.with(.fast) { node in
      let last = try await Self.write(node)
      var clients: [(client: LogStreamClient, from: UInt64, frames: Frames)] = []
      for from in 1...last {
        let client = try await LogStreamClient(node, "from=\(from)")
        #expect(client.head.status == 200)
        #expect(client.head["content-type"] == "application/octet-stream")
        #expect(client.head["x-kv-epoch"]?.hasPrefix("1-") == true)
        #expect(client.head["x-kv-keys"] == "25")
        guard case .segment(let header) = try await client.event() else {
          Issue.record("no segment header")
          return
        }
        #expect(header.isShipped && !header.isMarked && header.fileBytes == 0)
        let frames = try await client.frames(through: last)
        #expect(frames[0].header.firstSequence <= from && frames[0].header.lastSequence >= from)
        #expect(header.firstSequence == frames[0].header.firstSequence)
        clients.append((client, from, frames))
      }
      let end = try await Self.write(node)
      for index in clients.indices {
        clients[index].frames += try await clients[index].client.frames(through: end)
      }
      let log = try node.log()
      for (_, from, frames) in clients { Self.expectSame(frames, log, from: from) }
    }
  }

  @Test("is the same for many who follow at once, beside writers")
  func manyFollowers() async throws {
    try await RunningNode.with(.standard, { $0.threads = 2 }) { node in
      try await Self.write(node)
      var clients: [LogStreamClient] = []
      for _ in 0..<24 { clients.append(try await LogStreamClient(node, "from=1")) }
      async let first = Self.write(node, 100)
      async let second = Self.write(node, 100)
      let last = try await max(first, second)
      var all: [Frames] = []
      for client in clients { all.append(try await client.frames(through: last)) }
      let log = try node.log()
      for frames in all { Self.expectSame(frames, log, from: 1) }
    }
  }

  @Test("comes whole where a frame is larger than anything that is kept for a follower")
  func largeFrame() async throws {
    try await RunningNode.with(.fast) { node in
      let live = try await LogStreamClient(node, "from=1&replica=live")
      let value = String(repeating: "0123456789abcdef", count: 1 << 20)
      let answer = try await node.ask("PUT", "/kv/large", body: value)
      let last = try #require(answer["x-kv-version"].flatMap { UInt64($0) })
      let late = try await LogStreamClient(node, "from=1")
      let frames = [try await live.frames(through: last), try await late.frames(through: last)]
      let log = try node.log()
      for frames in frames {
        Self.expectSame(frames, log, from: 1)
        #expect(frames.last!.bytes.count > value.utf8.count)
      }
      // And it goes on behind it.
      let next = try await Self.write(node, 2)
      Self.expectSame(
        frames[0] + (try await live.frames(through: next)), try node.log(), from: 1)
    }
  }

  @Test("holds nobody up when a follower takes nothing, which gets everything later")
  func takesNothing() async throws {
    func configure(_ configuration: inout Configuration) {
      configuration.segmentBytes = 1 << 20
      configuration.limits.logStreamStallSeconds = 600
    }
    try await RunningNode.with(.fast, configure) { node in
      let slow = try await LogStreamClient(node, "from=1&replica=slow")
      let client = try node.connect()
      let value = String(repeating: "v", count: 1 << 20)
      var last: UInt64 = 0
      // More than memory keeps and the system takes for it.
      for number in 0..<24 {
        let answer = try await client.ask("PUT", "/kv/\(number % 2)", body: value)
        last = try #require(answer["x-kv-version"].flatMap { UInt64($0) })
      }
      let frames = try await slow.frames(through: last)
      Self.expectSame(frames, try node.log(), from: 1)
    }
  }

  @Test("is cut off for a follower that takes nothing for too long")
  func stalled() async throws {
    func configure(_ configuration: inout Configuration) {
      configuration.segmentBytes = 1 << 20
      configuration.limits.logStreamStallSeconds = 1
    }
    try await RunningNode.with(.fast, configure) { node in
      let slow = try await LogStreamClient(node, "from=1&replica=slow")
      let client = try node.connect()
      let value = String(repeating: "v", count: 1 << 20)
      for number in 0..<24 {
        try await #expect(client.ask("PUT", "/kv/\(number % 2)", body: value).status < 300)
      }
      try await node.awaitStatus(#""state":"offline""#)
      try await #expect(node.ask("GET", "/metrics").text.contains("shiplog_log_streams 0\n"))
      withExtendedLifetime(slow) {}
    }
  }

  // MARK: - Where it begins

  @Test("goes on from a position of its history, and from no other one")
  func handshake() async throws {
    try await RunningNode.with(.fast) { node in
      try await Self.write(node)
      // The mark of the quiet log: from then on nothing is written.
      try await node.awaitStatus(#""keys""#)
      let log = try node.log()
      let origin = try #require(
        try await node.ask("GET", "/status").text.split(separator: #""origin":""#).last?.prefix(16))
      for frame in log {
        let position = frame.header.position
        let right = position.query("from", offset: 1)
        for query in [right, right + "&origin=\(origin)"] {
          let client = try await LogStreamClient(node, query)
          #expect(client.head.status == 200, "\(query)")
          guard case .segment(let header) = try await client.event() else { continue }
          #expect(header.previous == position)
        }
        var other = position
        other.crc ^= 1
        var late = position
        late.epoch.number += 1
        var foreign = position
        foreign.epoch.node ^= 1
        for query in [
          other.query("from", offset: 1), late.query("from", offset: 1),
          foreign.query("from", offset: 1), position.query("from", offset: 2),
          right + "&origin=0000000000000001",
        ] {
          let client = try await LogStreamClient(node, query)
          #expect(client.head.status == 409, "\(query)")
          let node16 = hexadecimal(position.epoch.node)
          #expect(client.head.text.hasPrefix("{\"error\":\""))
          #expect(
            client.head.text.hasSuffix(
              #","epochs":[[1,"\#(node16)",1]],"oldest":1,"snapshot":null}"#),
            "\(client.head.text)")
        }
      }
      // Nothing precedes the first number.
      for (query, status) in [
        ("from=1&crc=00000000&epoch=0-0000000000000000", 200), ("from=1&crc=00000001", 409),
      ] {
        try await #expect(LogStreamClient(node, query).head.status == status)
      }
    }
  }

  @Test("is refused from within a frame, and from behind the end")
  func nowhere() async throws {
    try await RunningNode.with(.fast) { node in
      let line = #"{"op":"put","key":"k","value":"v"}"# + "\n"
      try await #expect(node.ask("POST", "/batch", body: line + line + line).status == 200)
      let frame = try #require(try node.log().first { $0.header.recordCount == 3 }).header
      // Without a crc the whole frame comes; with one there is nothing that could be right.
      let inside = "from=\(frame.firstSequence + 1)"
      try await #expect(LogStreamClient(node, inside).head.status == 200)
      for crc in [frame.crc, frame.previousCRC] {
        let client = try await LogStreamClient(node, inside + "&crc=\(hexadecimal(crc))")
        #expect(client.head.status == 409)
      }
      let client = try await LogStreamClient(node, "from=1000000")
      #expect(client.head.status == 409 && client.head.text.contains("before 1000000"))
    }
  }

  @Test("is gone where the log begins later, and the answer says where")
  func gone() async throws {
    try await RunningNode.with(.fast) { node in
      for number in 0..<24 {
        let value = String(repeating: "v", count: 1_000)
        try await #expect(node.ask("PUT", "/kv/\(number)", body: value).status == 201)
      }
      let snapshot = try await node.ask("POST", "/admin/snapshot").text
      let sequence = try #require(snapshot.split(separator: ":")[1].split(separator: ",").first)
      let log = try node.log()
      var names: [String] = []
      for number in stride(from: log[0].header.firstSequence, through: 20, by: 1) {
        let name = node.dataDirectory + "/wal/" + SegmentName.of(number)
        if access(name, F_OK) == 0 { names.append(name) }
      }
      for name in names { #expect(unlink(name) == 0) }
      let oldest = try #require(try node.log().first).header.firstSequence
      #expect(oldest > 1)
      let position = log[2].header.position
      for query in ["from=1", "from=\(oldest - 1)", position.query("from", offset: 1)] {
        let client = try await LogStreamClient(node, query)
        #expect(client.head.status == 410, "\(query)")
        #expect(
          client.head.text.hasSuffix(",\"oldest\":\(oldest),\"snapshot\":\(sequence)}"),
          "\(client.head.text)")
      }
      // What is known to be another history is not mistaken for an old one.
      var other = position
      other.epoch.number = 9
      try await #expect(
        LogStreamClient(node, other.query("from", offset: 1)).head.status == 409)
      let client = try await LogStreamClient(node, "from=\(oldest)")
      try await #expect(client.frame()?.header.firstSequence == oldest)
    }
  }

  @Test("is refused for what is no position, no name, or this node itself")
  func malformed() async throws {
    try await RunningNode.with(.fast) { node in
      let long = String(repeating: "r", count: 129)
      for query in [
        "", "from=", "from=0", "from=x", "from=4611686018427387904", "from=1&crc=1",
        "from=1&crc=0000000G", "from=1&crc=0000000A", "from=1&epoch=1", "from=1&origin=1",
        "from=1&origin=g000000000000000", "from=1&replica=", "from=1&replica=\(long)",
        "from=1&replica=%ff", "from=1&replica=node",
      ] {
        let client = try await LogStreamClient(node, query)
        #expect(client.head.status == 400, "\(query)")
        #expect(client.head.text.hasPrefix("{\"error\":"))
      }
      try await #expect(node.ask("GET", "/metrics").text.contains("shiplog_log_streams 0\n"))
    }
  }

  @Test("is for so many at a time, and for another when one is gone")
  func tooMany() async throws {
    try await RunningNode.with(.fast, { $0.limits.logStreamsMax = 2 }) { node in
      let first = try await LogStreamClient(node, "from=1")
      var second: LogStreamClient? = try await LogStreamClient(node, "from=1&replica=second")
      #expect(first.head.status == 200 && second?.head.status == 200)
      let third = try await LogStreamClient(node, "from=1")
      #expect(third.head.status == 503 && third.head["retry-after"] == "1")
      second = nil
      while try await LogStreamClient(node, "from=1").head.status != 200 {}
      withExtendedLifetime(first) {}
    }
  }

  // MARK: - Heartbeats

  @Test("says at once that there is nothing, and again and again while there is not")
  func heartbeats() async throws {
    try await RunningNode.with(.fast, { $0.limits.heartbeatMilliseconds = 50 }) { node in
      try await Self.write(node)
      var end = try #require(try node.log().last).header.position
      let client = try await LogStreamClient(node, end.query("from", offset: 1))
      var digests: Set<UInt64> = []
      for _ in 0..<5 {
        while let event = try await client.event() {
          if case .frame(let header, _) = event { end = header.position }
          guard case .heartbeat(let header, let content) = event else { continue }
          #expect(header.firstSequence == end.sequence + 1 && header.previousCRC == end.crc)
          #expect(header.epoch == end.epoch && header.timeMilliseconds > 1_700_000_000_000)
          #expect(header.confirmedSequence == end.sequence)
          digests.insert(content[..<8].reversed().reduce(0) { $0 << 8 | UInt64($1) })
          break
        }
      }
      // A mark changes no key.
      let digest = try #require(digests.first)
      #expect(digests.count == 1)
      try await #expect(
        node.ask("GET", "/status").text.contains(#""digest":"\#(hexadecimal(digest))""#))
      // Another state has another one, and says of which number it is.
      try await Self.write(node)
      var heartbeat = try await client.heartbeat()
      while heartbeat.digest == digest { heartbeat = try await client.heartbeat() }
      #expect(heartbeat.sequence > end.sequence)
    }
  }

  @Test("tells a confirmed number that has moved at once, though nothing else is sent")
  func confirmed() async throws {
    let members = ["node", "b", "c"].map { Member(id: $0, address: "127.0.0.1:1") }
    try await RunningNode.with(
      .fast,
      {
        $0.members = members
        $0.writeQuorum = 2
        // None comes by itself.
        $0.limits.heartbeatMilliseconds = 3_600_000
      }
    ) { node in
      let end = try #require(try node.log().last).header.position
      let client = try await LogStreamClient(node, "from=1&replica=b")
      // No more than what its frames say of those before them.
      try await #expect(client.heartbeat().header.confirmedSequence < end.sequence)
      try await #expect(node.acknowledge(end, by: "guest").status == 204)
      try await #expect(node.acknowledge(end, by: "c").status == 204)
      try await #expect(client.heartbeat().header.confirmedSequence == end.sequence)
      try await node.awaitStatus(#""confirmed":\#(end.sequence),"#)
      try await #expect(node.ask("GET", "/status").text.contains(#""id":"guest""#))
    }
  }

  // MARK: - The end

  @Test("ends in order, behind a whole frame, when the node stops")
  func stop() async throws {
    let node = try await RunningNode.start(.fast)
    let value = String(repeating: "v", count: 15 << 20)
    for key in ["a", "b"] {
      try await #expect(node.ask("PUT", "/kv/\(key)", body: value).status == 201)
    }
    let idle = try await LogStreamClient(node, "from=\(try node.log().last!.header.lastSequence)")
    let slow = try await LogStreamClient(node, "from=1")
    async let stopping: Void = node.stop()
    while try await idle.event() != nil {}
    try await #expect(idle.connection.isEnded())
    var frames = 0
    while try await slow.frame() != nil { frames += 1 }
    #expect(frames >= 1)
    try await #expect(slow.connection.isEnded())
    try await stopping
  }

  @Test("ends for a client that has nothing more to say, once it has everything")
  func clientEnds() async throws {
    try await RunningNode.with(.standard) { node in
      let last = try await Self.write(node)
      let client = try await LogStreamClient(node, "from=1&replica=x")
      client.connection.endOutput()
      var found: UInt64 = 0
      while let frame = try await client.frame() { found = frame.header.lastSequence }
      #expect(found >= last)
      try await node.awaitStatus(#""state":"offline""#)
      try await #expect(node.ask("GET", "/metrics").text.contains("shiplog_log_streams 0\n"))
    }
  }

  // MARK: - Pieces

  private static func someFrames() throws -> Frames {
    let disk = SimulatedDisk(seed: 1)
    var options = LogOptions(dataDirectory: "/data", node: 7)
    options.fileSystem = disk
    options.usesThreads = false
    let writer = try LogRecovery.open(options).writer
    for count in [0, 100, 5_000] {
      var builder = FrameBuilder()
      let value = [UInt8](repeating: 65, count: count)
      let key: [UInt8] = [65]
      builder.append(.put, key: key.span.bytes, value: value.span.bytes)
      try writer.commit(&builder)
    }
    var reader = try LogReader(directory: "/data/wal", fileSystem: disk)
    var frames: Frames = []
    while case .frame(let header) = try reader.next() {
      frames.append((header, reader.withFrame { $0.withUnsafeBytes { Array($0) } }))
    }
    return frames
  }

  @Test("copies a frame in pieces of any size, and nothing behind it when it is to end")
  func pieces() throws {
    let frames = try Self.someFrames()
    for bytesMax in [1, 7, 72, 100, 1_000, 1 << 20] {
      var shipper = FrameShipper(behind: .start)
      var sent: [UInt8] = []
      for (header, frame) in frames {
        var isWhole = false
        while !isWhole {
          var buffer = ByteBuffer()
          isWhole = frame.withUnsafeBytes {
            shipper.encode(header, $0, into: &buffer, bytesMax: bytesMax)
          }
          #expect(buffer.readableBytes <= bytesMax)
          sent += buffer.readableBytesView
          #expect(shipper.isBetween == isWhole)
        }
        #expect(shipper.position == header.position)
      }
      #expect(sent == frames.flatMap(\.bytes))
    }
    var shipper = FrameShipper(behind: .start)
    var buffer = ByteBuffer()
    let (header, frame) = frames[0]
    #expect(frame.withUnsafeBytes { !shipper.encode(header, $0, into: &buffer, bytesMax: 10) })
    shipper.beginsNothing = true
    #expect(
      frame.withUnsafeBytes { shipper.encode(header, $0, into: &buffer, bytesMax: 1 << 20) })
    let (next, behind) = frames[1]
    #expect(
      behind.withUnsafeBytes { !shipper.encode(next, $0, into: &buffer, bytesMax: 1 << 20) })
    #expect(buffer.readableBytes == frame.count && shipper.isBetween)
  }
}
