import Terminal
import WAL

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What happens in a cluster.
struct ClusterEvent: Sendable {
  enum Kind: Sendable {
    /// It takes requests.
    case listens
    /// Its process has ended, or could not be started; how, in words.
    case died(String)
    /// It is not started again: nothing comes of this node any more.
    case isOver
    case signal
    case patienceEnded
  }

  /// Of the node; nil for what is about all of them.
  var index: Int?
  var kind: Kind
}

/// Starts a node's process, shows what it says, and starts it again when it ends: a thread of its own.
final class NodeSupervisor: Sendable {
  private static let lineBytesMax = 64 << 10
  private static let waitSecondsMax: UInt64 = 30
  /// A process that worked for so long is no reason to wait longer before the next one.
  private static let settledNanoseconds: UInt64 = 60_000_000_000

  private struct State {
    var isStopping = false
    /// The process that runs, or has ended and was not waited for: its id is nobody else's.
    var child: pid_t?
  }

  private let node: ClusterNode
  private let launch: NodeLaunch
  private let label: String
  private let restarts: Bool
  private let tell: @Sendable (ClusterEvent.Kind) -> Void
  private let state = Monitor(State())

  init(
    _ node: ClusterNode, launch: NodeLaunch, label: String, restarts: Bool,
    tell: @escaping @Sendable (ClusterEvent.Kind) -> Void
  ) {
    self.node = node
    self.launch = launch
    self.label = label
    self.restarts = restarts
    self.tell = tell
  }

  /// Begins. It is over once `isOver` was told.
  func start() {
    _ = ThreadHandle { self.run() }
  }

  /// Starts nothing more, and has the process stop in order.
  func stop() { end(SIGTERM) }

  /// Starts nothing more, and has the process gone.
  func kill() { end(SIGKILL) }

  private func end(_ signal: CInt) {
    state.signal { state in
      state.isStopping = true
      if let child = state.child { systemKill(child, signal) }
    }
  }

  // MARK: - The thread

  private func run() {
    let clock = LogClock.system
    var waitSeconds: UInt64 = 1
    while true {
      let begin = clock.monotonicNanoseconds()
      guard let words = runOnce() else { break }
      tell(.died(words))
      guard restarts else { break }
      let now = clock.monotonicNanoseconds()
      if now - begin >= Self.settledNanoseconds { waitSeconds = 1 }
      let until = now + waitSeconds * 1_000_000_000
      if state.wait(untilNanoseconds: until, { $0.isStopping ? true : nil }) != nil { break }
      waitSeconds = min(waitSeconds * 2, Self.waitSecondsMax)
    }
    tell(.isOver)
  }

  /// One life of the process.
  ///
  /// - Returns: how it ended; nil when it was told to, or was not to be started any more.
  private func runOnce() -> String? {
    let started: NodeLaunch.Child?
    do {
      // With the lock held, so that whoever stops it finds either no process or its id.
      started = try state.withLock { (state) throws(NodeLaunch.Refused) in
        guard !state.isStopping else { return nil }
        let child = try launch.start()
        state.child = child.id
        return child
      }
    } catch {
      return "cannot be started: \(String(cString: strerror(error.code)))"
    }
    guard let child = started else { return nil }
    show(child.errors)
    close(child.errors)
    let (words, wasStopped) = wait(for: child.id)
    close(child.input)
    return wasStopped ? nil : words
  }

  private func wait(for id: pid_t) -> (words: String, wasStopped: Bool) {
    // Its id stays its own until it is waited for, which the lock keeps apart from signals.
    var info = siginfo_t()
    while waitid(P_PID, id_t(id), &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
    return state.withLock { state in
      var status: CInt = 0
      while waitpid(id, &status, 0) < 0, errno == EINTR {}
      state.child = nil
      let signal = status & 0x7F
      let words = signal == 0 ? "exit code \(status >> 8 & 0xFF)" : "killed by signal \(signal)"
      return (words, state.isStopping)
    }
  }

  /// Shows what comes, line by line, until it ends.
  private func show(_ descriptor: CInt) {
    var room = [UInt8](repeating: 0, count: 16 << 10)
    var line: [UInt8] = []
    while true {
      let count = room.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      for byte in room[..<count] {
        if byte == UInt8(ascii: "\n") || line.count == Self.lineBytesMax {
          show(line)
          line.removeAll(keepingCapacity: true)
        }
        if byte != UInt8(ascii: "\n") { line.append(byte) }
      }
    }
    if !line.isEmpty { show(line) }
  }

  private func show(_ line: [UInt8]) {
    let text = String(decoding: line, as: UTF8.self)
    Say.error(label + text)
    if text.contains("listening on \(node.address)") { tell(.listens) }
  }
}

/// The system's, beside the method of that name.
private func systemKill(_ process: pid_t, _ signal: CInt) { kill(process, signal) }
