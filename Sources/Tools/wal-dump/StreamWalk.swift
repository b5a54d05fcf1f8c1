import WAL

/// Reads a log from standard input, going on behind corruption.
struct StreamWalk: FrameSource, ~Copyable {
  private var stream = FrameStream()
  private let buffer: UnsafeMutableRawBufferPointer
  private let isFollowing: Bool
  private let limit: UInt64
  private var isFinished = false
  private var isAtEnd = false

  /// How often a stream that brings nothing is left to look for signals.
  private static let waitMilliseconds: Int32 = 50

  init(to: UInt64 = .max, isFollowing: Bool) {
    buffer = .allocate(byteCount: 256 << 10, alignment: 4096)
    self.isFollowing = isFollowing
    limit = to
  }

  deinit {
    buffer.deallocate()
  }

  func withRecords<R>(_ body: (RawSpan) throws(DumpError) -> R) throws(DumpError) -> R {
    try stream.withRecords(body)
  }

  var bytesDone: UInt64 { stream.offset }
  private(set) var segmentCount = 0

  mutating func next() throws(DumpError) -> FrameEvent {
    while !isAtEnd {
      if let position = stream.position, position.sequence >= limit { break }
      do throws(FrameStream.Failure) {
        switch try stream.next() {
        case .frame(let header): return .frame(header)
        case .heartbeat: continue
        case .segment:
          segmentCount += 1
          continue
        case nil: break
        }
      } catch {
        guard let damage = try judge(error) else { continue }
        isAtEnd = damage.continuation == nil
        return .damage(damage)
      }
      if isFinished { break }
      guard try read() else { return System.shouldStop ? .end : .pause }
    }
    if stream.origin == nil, !isAtEnd {
      throw .message(
        "\(LogPlace.standardInputName): nothing there. Send it segments: cat wal/*.wal")
    }
    return .end
  }

  /// - Returns: false when nothing has come for a while.
  private mutating func read() throws(DumpError) -> Bool {
    if isFollowing {
      guard System.waitForInput(System.standardInput, milliseconds: Self.waitMilliseconds) else {
        return false
      }
    }
    let count = try System.read(System.standardInput, into: buffer)
    if count == 0 {
      isFinished = true
      stream.finish()
    } else {
      stream.feed(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }
    return true
  }

  /// Reads on until it is certain what the failure was; nil when it was none.
  private mutating func judge(_ failure: FrameStream.Failure) throws(DumpError) -> Damage? {
    let name = LogPlace.standardInputName
    if case .violation(let violation) = failure.finding {
      if violation == .segmentMagic, stream.origin == nil {
        throw .message("\(name): not a segment of a log. Send it segments: cat wal/*.wal")
      }
      if violation.isUnsupported {
        throw .log(.unsupported(path: name, offset: failure.offset, violation))
      }
    }
    while !stream.findEvidence(), !isFinished, !System.shouldStop {
      _ = try read()
    }
    _ = stream.findEvidence()
    return stream.verdict(path: name)
  }
}
