import Engine
import SimulatedDisk
import Testing
import WAL

/// A replica as `LogFollower` has it, without sockets: what a connection brings is checked, written to a
/// copy of the log, and applied.
private struct StreamedCopy {
  let copy: LogCopy
  private(set) var state: FollowerState
  private var now: UInt64 = 0

  init(of node: CommitterFixture) throws {
    copy = try LogCopy(SimulatedDisk(seed: 3), origin: node.log.origin)
    state = FollowerState(applied: .start, origin: node.log.origin, now: 0, jitter: 9)
  }

  /// What it asks for with its next connection.
  mutating func request() throws -> StreamRequest {
    now = try #require(state.deadline)
    guard case .connect(let request) = state.tick(now) else {
      throw WALError.setting("it does not connect")
    }
    return request
  }

  /// A connection that brings these bytes, piece by piece, and ends.
  ///
  /// - Returns: whether the replica has closed it before.
  mutating func take(_ bytes: some RandomAccessCollection<UInt8>, pieceBytes: Int) throws -> Bool {
    var stream = FrameStream()
    var rest = bytes[...]
    while !rest.isEmpty {
      let piece = Array(rest.prefix(pieceBytes))
      rest = rest.dropFirst(pieceBytes)
      piece.withUnsafeBytes { stream.feed($0) }
      guard let frames = decode(&stream) else {
        state.closed("what came is no frame of this log", now)
        return true
      }
      guard !frames.isEmpty else { continue }
      guard case .applied(let position) = copy.ship(frames[...]) else {
        throw WALError.setting("not applied")
      }
      state.applied(position)
    }
    state.closed("the connection was closed", now)
    return false
  }

  /// Nil when the connection is to be closed.
  private mutating func decode(_ stream: inout FrameStream) -> ShippedFrames? {
    var frames: ShippedFrames = []
    do throws(FrameStream.Failure) {
      while let event = try stream.next() {
        switch event {
        case .segment(let header):
          if state.opened(header, now) != nil { return nil }
        case .heartbeat(let header): state.heartbeat(end: header.firstSequence - 1, now)
        case .frame(let header):
          state.frame(header)
          frames.append((header, stream.withFrame { $0.withUnsafeBytes { Array($0) } }))
        }
      }
      return frames
    } catch {
      return nil
    }
  }
}

@Suite("A stream of the log that is cut or damaged")
struct CutStreamTests {
  private let node: CommitterFixture
  private let frames: ShippedFrames

  /// About 3 KB: puts, deletes, batches, a key that expires, a mark.
  init() throws {
    let node = try CommitterFixture(SimulatedDisk(seed: 1))
    for round in 0..<16 {
      switch round % 5 {
      case 3: node.commit { $0.delete("key-1", node.index) }
      case 4: node.commit { $0.batch([("one", "\(round)"), ("two", nil), ("key-1", "again")]) }
      default:
        let expiry: UInt64? = round == 2 ? node.clock.wallMilliseconds + 100 : nil
        node.commit {
          $0.put(
            "key-\(round % 5)", String(repeating: "v", count: 10 * round), node.index,
            expiry: expiry)
        }
      }
    }
    node.clock.advance(milliseconds: 150)
    _ = node.work.tick()
    self.node = node
    frames = try LogCopy.frames(on: node.disk)
  }

  /// What the node sends to who asks for that: as `LogStream` does, with heartbeats in between.
  private func stream(_ request: StreamRequest) -> [UInt8] {
    var bytes = SegmentHeader(
      origin: node.log.origin, previous: request.after, durableSequence: request.from - 1,
      isShipped: true
    ).encoded
    for (number, frame) in frames.enumerated() where frame.header.firstSequence >= request.from {
      bytes += frame.bytes
      guard number % 5 == 0 || number == frames.count - 1 else { continue }
      bytes += Heartbeat(
        behind: frame.header.position, durableSequence: frame.header.position.sequence,
        confirmedSequence: 0, timeMilliseconds: 1,
        content: [UInt8](repeating: UInt8(number), count: 16)
      ).encoded(origin: node.log.origin)
    }
    return bytes
  }

  /// Expects that the replica has nothing but frames of the node's, in order.
  private func expectPrefix(_ replica: StreamedCopy, _ moment: String) throws {
    let copied = try LogCopy.frames(on: replica.copy.disk)
    #expect(copied.map(\.bytes) == frames.prefix(copied.count).map(\.bytes), "\(moment)")
    #expect(replica.state.applied == (copied.last?.header.position ?? .start), "\(moment)")
  }

  private func finish(_ replica: inout StreamedCopy, _ moment: String) throws {
    let rest = stream(try replica.request())
    #expect(try !replica.take(rest, pieceBytes: 4_096), "\(moment)")
    try replica.copy.expectEqual(node, frames, moment)
  }

  @Test("is gone on with at any byte, and then everything is there once", arguments: [4_096, 61])
  func cutEverywhere(pieceBytes: Int) throws {
    let count = stream(StreamRequest(from: 1, after: .start, origin: nil)).count
    #expect((2_500...4_500).contains(count), "\(count) bytes")
    for end in 0...count {
      var replica = try StreamedCopy(of: node)
      let bytes = stream(try replica.request())
      let wasClosed = try replica.take(bytes.prefix(end), pieceBytes: pieceBytes)
      #expect(!wasClosed, "byte \(end)")
      try expectPrefix(replica, "byte \(end)")
      try finish(&replica, "byte \(end)")
    }
  }

  @Test("is gone on with however often it is cut", arguments: 0..<60 as Range<UInt64>)
  func cutOften(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    var replica = try StreamedCopy(of: node)
    for round in 0..<20 {
      let bytes = stream(try replica.request())
      let end = random.below(min(bytes.count, 700) + 1)
      let wasClosed = try replica.take(bytes.prefix(end), pieceBytes: 1 + random.below(200))
      #expect(!wasClosed)
      try expectPrefix(replica, "round \(round)")
    }
    try finish(&replica, "in the end")
  }

  @Test("is closed at any changed bit, and nothing behind that is applied", arguments: [4_096, 61])
  func changedBits(pieceBytes: Int) throws {
    let count = stream(StreamRequest(from: 1, after: .start, origin: nil)).count
    for index in 0..<count {
      var replica = try StreamedCopy(of: node)
      var bytes = stream(try replica.request())
      bytes[index] ^= 1 << UInt8(index % 8)
      let wasClosed = try replica.take(bytes, pieceBytes: pieceBytes)
      #expect(wasClosed, "byte \(index)")
      try expectPrefix(replica, "byte \(index)")
      try finish(&replica, "byte \(index)")
    }
  }
}
