import Engine
import NIOCore
import WAL

/// Sends a part of a file as fast as the client takes it. What it holds is one piece, and what the
/// connection has not taken.
///
/// `@unchecked Sendable`: touched on the event loop only; reader threads get the file.
final class SnapshotStream: AnswerStream, @unchecked Sendable {
  private static let pieceBytes: UInt64 = 256 << 10

  let bodyBytes: Int?
  let fields: [(name: String, value: String)]
  private let loop: LoopState
  private let lane: StandardLane
  private let file: any File
  private let limit: UInt64
  private var offset: UInt64
  /// Keeps what is sent from being removed; called now and then.
  private let renew: () -> Void
  private var renewed = NIODeadline.now()
  private var isReading = false
  private var isClosed = false

  /// Counted as a reader of snapshots by whoever makes it; that ends with `close`.
  init(
    _ loop: LoopState, _ lane: StandardLane, _ file: any File, _ bytes: Range<UInt64>,
    fields: [(name: String, value: String)], renew: @escaping () -> Void
  ) {
    self.loop = loop
    self.lane = lane
    self.file = file
    self.fields = fields
    self.renew = renew
    offset = bytes.lowerBound
    limit = bytes.upperBound
    bodyBytes = bytes.count
  }

  func goOn() {
    guard !isClosed, !isReading else { return }
    lane.deadline = .now() + .seconds(Int64(loop.limits.answerSeconds))
    guard offset < limit else { return lane.endStream() }
    if lane.isWritable { read() }
  }

  /// It can be resumed: nobody waits for the rest of it.
  func end() { lane.abort() }

  /// It may still be reading.
  func clientEnded() {}

  func timeOut() { lane.abort() }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    loop.node.releaseSnapshotReader()
  }

  private func read() {
    isReading = true
    let (file, offset) = (file, offset)
    let count = Int(min(Self.pieceBytes, limit - offset))
    loop.node.feedReaders.run(on: loop.eventLoop) {
      Self.read(file, at: offset, count)
    } then: { result in
      self.isReading = false
      guard !self.isClosed else { return }
      switch result {
      case .success(let piece): self.send(piece)
      case .failure(let error):
        self.loop.node.logger.error("a snapshot is not sent to its end: \(error)")
        self.lane.abort()
      }
    }
  }

  private static func read(
    _ file: any File, at offset: UInt64, _ count: Int
  ) -> Result<ByteBuffer, WALError> {
    var piece = ByteBuffer()
    var failure: WALError?
    piece.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { room in
      do throws(WALError) {
        return try file.readAll(
          into: UnsafeMutableRawBufferPointer(rebasing: room[..<count]), at: offset)
      } catch {
        failure = error
        return 0
      }
    }
    if let failure { return .failure(failure) }
    guard piece.readableBytes == count else {
      return .failure(
        .invalidFile(path: file.path, offset: offset, reason: "the file was cut short"))
    }
    return .success(piece)
  }

  private func send(_ piece: ByteBuffer) {
    offset += UInt64(piece.readableBytes)
    if renewed + .seconds(Int64(loop.limits.snapshotLeaseSeconds / 4)) < .now() {
      renewed = .now()
      renew()
    }
    lane.send(piece)
    goOn()
  }
}
