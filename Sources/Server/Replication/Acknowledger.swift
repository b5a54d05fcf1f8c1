import Client
import Engine
import NIOCore
import WAL

/// Tells a leader how far this node is: one acknowledgement at a time, always the newest.
///
/// Belongs to its event loop.
final class Acknowledger {
  private static let timeout = TimeAmount.seconds(5)
  /// Between two of them where nobody waits, so that a busy stream does not cost a request a commit.
  private static let pause = TimeAmount.milliseconds(5)
  private static let pauseBehindFailure = TimeAmount.milliseconds(500)

  private let leader: NodeAddress
  /// What every request says, before and behind the position.
  private let (start, rest): (String, String)
  private let loop: any EventLoop
  private let pool: KVPool
  private var newest: LogPosition?
  private var told: LogPosition?
  private var isBusy = false
  private var isStopped = false
  /// Writes wait for what is told: so the leader said last.
  private(set) var isAwaited = false

  init(_ leader: NodeAddress, id: String, origin: UInt64, loop: any EventLoop, pool: KVPool) {
    self.leader = leader
    start = "/wal/ack?replica=\(PercentEncoding.encode(id))&epoch="
    rest = "&origin=\(hexadecimal(origin))"
    self.loop = loop
    self.pool = pool
  }

  /// There is a new stream: the leader may not know anything.
  func begin() { told = nil }

  /// Everything up to there is durable and applied here.
  func applied(_ position: LogPosition) {
    newest = position
    tell()
  }

  func stop() { isStopped = true }

  private func tell() {
    guard !isBusy, !isStopped, let newest, newest != told else { return }
    isBusy = true
    let request = KVRequest(
      .POST,
      start + "\(newest.epoch.text)&seq=\(newest.sequence)&crc=\(hexadecimal(newest.crc))" + rest,
      isIdempotent: true)
    pool.execute(request, on: leader, deadline: .now() + Self.timeout, eventLoop: loop)
      .assumeIsolated().whenComplete { result in
        var pause = Self.pauseBehindFailure
        if case .success(let answer) = result, answer.status == 204 {
          self.told = newest
          self.isAwaited = answer.headers.first(name: "X-KV-Awaited") != nil
          pause = self.isAwaited ? .zero : Self.pause
        }
        // One that was refused or lost is not repeated: a later one says more, and a leader that has
        // this one in its history takes it.
        self.loop.assumeIsolated().scheduleTask(in: pause) {
          self.isBusy = false
          self.tell()
        }
      }
  }
}
