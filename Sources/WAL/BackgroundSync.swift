import Synchronization

/// Syncs on behalf of a writer that acknowledges before it syncs (`interval`, `none`).
///
/// Files are synced in the order of the log, so that "durable up to" is always true.
final class BackgroundSync: Sendable {
  private struct Request {
    var file: any File
    /// The file's name now; it was opened under another one.
    var path: String
    /// What is durable once this file is synced.
    var sequence: UInt64
  }

  private struct State {
    var requests: [Request] = []
    var failure: WALError?
    var isStopped = false
  }

  private let state = Monitor(State())
  private let progress: LogProgress

  init(progress: LogProgress) {
    self.progress = progress
  }

  /// Asks for the file at `path`, in which the log has reached `sequence`, to be synced.
  func request(_ file: any File, _ path: String, through sequence: UInt64) {
    state.signal { state in
      if let last = state.requests.indices.last, state.requests[last].file === file {
        state.requests[last].sequence = sequence
      } else {
        state.requests.append(Request(file: file, path: path, sequence: sequence))
      }
    }
  }

  /// The error of a sync that failed; after that nothing here counts any more.
  var failure: WALError? {
    state.withLock { $0.failure }
  }

  var isIdle: Bool { state.withLock { $0.requests.isEmpty } }

  /// Waits until all that was requested is done, or failed.
  func drain(usingThread: Bool) throws(WALError) {
    if usingThread {
      state.wait { ($0.requests.isEmpty || $0.failure != nil) ? () : nil }
    } else {
      while step() {}
    }
    if let failure { throw failure }
  }

  func run() {
    while true {
      let isStopped = state.wait { state -> Bool? in
        if state.isStopped || state.failure != nil { return true }
        return state.requests.isEmpty ? nil : false
      }
      if isStopped { return }
      step()
    }
  }

  func stop() {
    state.signal { $0.isStopped = true }
  }

  /// Serves the oldest request.
  ///
  /// - Returns: false when there was none.
  @discardableResult
  func step() -> Bool {
    guard let request = state.withLock({ $0.failure == nil ? $0.requests.first : nil }) else {
      return false
    }
    do {
      try request.file.sync()
      progress.setDurable(request.sequence)
      state.signal { state in
        // The request may have grown while the sync ran; what was added is not covered.
        if state.requests[0].sequence == request.sequence { state.requests.removeFirst() }
      }
    } catch {
      state.signal { $0.failure = error.at(request.path) }
    }
    return true
  }
}

/// How far a log has come. Readable from any thread.
public final class LogProgress: Sendable {
  private let appendedSequence: Atomic<UInt64>
  private let durableSequence: Atomic<UInt64>

  init(durable: UInt64) {
    appendedSequence = Atomic(durable)
    durableSequence = Atomic(durable)
  }

  /// The last sequence number that was written.
  public var appended: UInt64 { appendedSequence.load(ordering: .acquiring) }
  /// The last sequence number that is known to be on the disk.
  public var durable: UInt64 { durableSequence.load(ordering: .acquiring) }

  func setAppended(_ sequence: UInt64) {
    appendedSequence.store(sequence, ordering: .releasing)
  }

  func setDurable(_ sequence: UInt64) {
    durableSequence.store(sequence, ordering: .releasing)
  }
}
