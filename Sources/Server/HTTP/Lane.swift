import Engine
import NIOCore

/// A connection, whichever way it reads its requests. Belongs to one event loop.
class Lane {
  let loop: LoopState
  /// When the connection is given up unless something happens; `.distantFuture` while the server has
  /// the next move.
  var deadline = NIODeadline.distantFuture
  /// Where the loop keeps it.
  var registryIndex: Int?

  init(loop: LoopState) {
    self.loop = loop
  }

  /// A write came back from the committer.
  func finish(_ request: WriteRequest, at index: Int, of submission: Submission) {
    preconditionFailure("abstract")
  }

  /// Goes on after all writes of a turn have been finished.
  func resume() { preconditionFailure("abstract") }

  /// The deadline has passed.
  func timeOut() { preconditionFailure("abstract") }

  /// The node is about to stop: close as soon as nothing is in progress.
  func drain() { preconditionFailure("abstract") }

  /// Gives the connection up, at once.
  func abort() { preconditionFailure("abstract") }

  /// As a write's token; taken back by `take`.
  final var token: UInt { UInt(bitPattern: Unmanaged.passRetained(self).toOpaque()) }

  static func take(_ token: UInt) -> Lane {
    Unmanaged<Lane>.fromOpaque(UnsafeRawPointer(bitPattern: token)!).takeRetainedValue()
  }
}
