import Testing
import WAL

/// A client that follows `/wal/stream` and checks every frame of it.
final class LogStreamClient {
  enum Event {
    case segment(SegmentHeader)
    case frame(FrameHeader, [UInt8])
    case heartbeat(FrameHeader, [UInt8])
  }

  let connection: ClientConnection
  let head: ClientAnswer
  private var stream = FrameStream()

  /// Sends the request and takes the answer's head; where the answer is a refusal, all of it.
  init(_ node: RunningNode, _ query: String) async throws {
    connection = try node.connect()
    try connection.send("GET", "/wal/stream?" + query)
    var head = try await connection.head()
    if head.status != 200 {
      head.body = try await connection.bytes(Int(head["content-length"] ?? "0") ?? 0)
    }
    self.head = head
  }

  /// The next thing; nil at the end of the answer, which is between two frames.
  func event() async throws -> Event? {
    while true {
      switch try stream.next() {
      case .segment(let header): return .segment(header)
      case .frame(let header):
        return .frame(header, stream.withFrame { $0.withUnsafeBytes { Array($0) } })
      case .heartbeat(let header):
        return .heartbeat(header, stream.withRecords { $0.withUnsafeBytes { Array($0) } })
      case nil: break
      }
      guard let chunk = try await connection.chunk() else {
        stream.finish()
        if try stream.next() != nil { Issue.record("more than was sent") }
        return nil
      }
      chunk.withUnsafeBytes { stream.feed($0) }
    }
  }

  /// The next frame, whatever comes before it; nil at the end.
  func frame() async throws -> (header: FrameHeader, bytes: [UInt8])? {
    while let event = try await event() {
      if case .frame(let header, let bytes) = event { return (header, bytes) }
    }
    return nil
  }

  /// All frames up to the one that holds that number.
  func frames(through sequence: UInt64) async throws -> [(header: FrameHeader, bytes: [UInt8])] {
    var frames: [(header: FrameHeader, bytes: [UInt8])] = []
    while frames.last.map({ $0.header.lastSequence < sequence }) ?? true {
      frames.append(try #require(try await frame()))
    }
    return frames
  }

  /// The next heartbeat, whatever comes before it.
  func heartbeat() async throws -> (header: FrameHeader, digest: UInt64, sequence: UInt64) {
    while let event = try await event() {
      guard case .heartbeat(let header, let content) = event else { continue }
      try #require(content.count == 16)
      func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
      }
      return (header, number(content[..<8]), number(content[8...]))
    }
    throw ClientConnection.Failure.ended(after: "no heartbeat")
  }
}

extension LogPosition {
  /// As parameters, the sequence number under that name.
  func query(_ name: String, offset: UInt64 = 0) -> String {
    "\(name)=\(sequence + offset)&crc=\(hexadecimal(crc))&epoch=\(epoch)"
  }
}

extension RunningNode {
  /// All frames of the node's log that are in its files.
  func log() throws -> [(header: FrameHeader, bytes: [UInt8])] {
    var reader = try LogReader(directory: dataDirectory + "/wal")
    var frames: [(header: FrameHeader, bytes: [UInt8])] = []
    while case .frame(let header) = try reader.next() {
      frames.append((header, reader.withFrame { $0.withUnsafeBytes { Array($0) } }))
    }
    return frames
  }

  func acknowledge(
    _ position: LogPosition, by replica: String, _ more: String = ""
  ) async throws -> ClientAnswer {
    try await ask("POST", "/wal/ack?replica=\(replica)&\(position.query("seq"))\(more)")
  }

  /// Waits until `/status` has that text.
  func awaitStatus(_ text: String) async throws {
    let deadline = ContinuousClock.now + .seconds(10)
    while try await !ask("GET", "/status").text.contains(text) {
      try #require(ContinuousClock.now < deadline, "\(text)")
      try await Task.sleep(for: .milliseconds(2))
    }
  }
}
