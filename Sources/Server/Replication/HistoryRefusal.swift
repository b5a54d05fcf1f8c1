import Engine
import NIOCore
import WAL

/// Why somebody cannot go on from where it is, and what it needs to find out from where it can.
struct HistoryRefusal: Sendable {
  enum Kind: Sendable {
    /// What it has is not this history.
    case diverged
    /// The log does not go back that far.
    case tooOld
    /// The log cannot be read.
    case failed(WALError)
  }

  /// So many epochs are told, the newest: all of it has to fit into what a follower reads.
  private static let epochsMax = 512

  let kind: Kind
  let message: String
  /// The log's id: epochs of another log say nothing.
  let origin: UInt64
  let epochs: ArraySlice<EpochHistory.Start>
  let oldest: UInt64?
  let snapshot: UInt64?

  /// Looks at the log's directory: off the event loop.
  init(_ kind: Kind, _ message: String, _ store: Store) {
    origin = store.origin
    epochs = store.epochs.all.suffix(Self.epochsMax)
    snapshot = store.snapshots.newest?.sequence
    do {
      oldest = try store.oldestSequence()
      self.kind = kind
      self.message = message
    } catch {
      oldest = nil
      self.kind = .failed(error)
      self.message = "\(error)"
    }
  }

  init(_ error: WALError, _ store: Store) {
    if case .notRetained = error {
      self.init(.tooOld, "\(error)", store)
    } else {
      self.init(.failed(error), "\(error)", store)
    }
  }

  var status: Status {
    switch kind {
    case .diverged: .conflict
    case .tooOld: .gone
    case .failed: .internalError
    }
  }

  /// `{"error":…,"origin":…,"epochs":[[number,node,first sequence],…],"oldest":…,"snapshot":…}`.
  func write(into buffer: inout ByteBuffer) {
    buffer.writeStaticString("{\"error\":")
    var message = message
    message.withUTF8 { JSONText.writeString(UnsafeRawBufferPointer($0), into: &buffer) }
    let list = epochs.map {
      "[\($0.epoch.number),\"\(hexadecimal($0.epoch.node))\",\($0.firstSequence)]"
    }
    buffer.writeString(",\"origin\":\"\(hexadecimal(origin))\"")
    buffer.writeString(",\"epochs\":[\(list.joined(separator: ","))]")
    buffer.writeString(",\"oldest\":\(oldest.map { "\($0)" } ?? "null")")
    buffer.writeString(",\"snapshot\":\(snapshot.map { "\($0)" } ?? "null")}")
  }
}
