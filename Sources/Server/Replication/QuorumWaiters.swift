import Engine
import NIOCore

/// What a write waits for besides this node.
struct WriteQuorum {
  /// Members, this node included, that are to have it durable and applied.
  var wanted: Int
  var timeout: TimeAmount
}

/// Writes of one event loop that this node has, and that wait until enough other members have them.
///
/// `@unchecked Sendable`: everything but `numberApplied` is touched on the event loop only.
final class QuorumWaiters: AppliedListener, @unchecked Sendable {
  typealias ID = Int

  private struct Waiter {
    let version: UInt64
    let wanted: Int
    let timer: Scheduled<Void>
    /// Called once, with the number of members that have it.
    let action: (Int) -> Void
  }

  private let eventLoop: any EventLoop
  private let followers: Followers
  private var waiters: [ID: Waiter] = [:]
  private var lastID = 0

  init(eventLoop: any EventLoop, followers: Followers) {
    self.eventLoop = eventLoop
    self.followers = followers
  }

  /// Calls `action` once enough members have that version, or the time is over, with the number of
  /// members that have it then. In a later turn of the loop.
  func add(
    _ version: UInt64, _ quorum: WriteQuorum, _ action: @escaping (Int) -> Void
  ) -> ID {
    lastID += 1
    let id = lastID
    let timer = eventLoop.assumeIsolated().scheduleTask(in: quorum.timeout) { self.expire(id) }
    waiters[id] = Waiter(version: version, wanted: quorum.wanted, timer: timer, action: action)
    arm()
    // They may have come before.
    if followers.count(having: version) >= quorum.wanted { numberApplied() }
    return id
  }

  /// Forgets a waiter, if it is still there, without a call.
  func remove(_ id: ID) { waiters.removeValue(forKey: id)?.timer.cancel() }

  private func expire(_ id: ID) {
    guard let waiter = waiters[id] else { return }
    end(id, followers.count(having: waiter.version))
  }

  private func end(_ id: ID, _ count: Int) {
    guard let waiter = waiters.removeValue(forKey: id) else { return }
    waiter.timer.cancel()
    waiter.action(count)
  }

  /// Ends all waits with what is known: the node stops.
  func giveUp() {
    for id in waiters.keys.sorted() { expire(id) }
  }

  /// Forgets everything, when the loop ends.
  func stop() {
    for id in Array(waiters.keys) { remove(id) }
    followers.acknowledgements.disarm(self)
  }

  /// Somebody has acknowledged a number that is waited for. On any thread.
  func numberApplied() {
    eventLoop.execute { self.look() }
  }

  private func look() {
    // Before the look: what comes meanwhile wakes this loop again.
    arm()
    for id in waiters.keys.sorted() {
      guard let waiter = waiters[id] else { continue }
      let count = followers.count(having: waiter.version)
      if count >= waiter.wanted { end(id, count) }
    }
  }

  private func arm() {
    guard let lowest = waiters.values.lazy.map(\.version).min() else { return }
    followers.acknowledgements.arm(self, at: lowest)
  }
}
