import Engine
import NIOCore

/// Submissions of one event loop that are in this node's log, and that wait until enough other members
/// have them. They leave in the order in which they came.
///
/// A submission is what one turn of the loop has gathered, so that a write that waits costs nothing by
/// itself.
///
/// `@unchecked Sendable`: everything but `numberApplied` is touched on the event loop only.
final class HeldWrites: AppliedListener, @unchecked Sendable {
  private struct Held {
    let submission: Submission
    /// The last version of it, or, where nothing was written, the one that its outcome was judged by.
    let version: UInt64
    let deadline: NIODeadline
  }

  /// First in, first out: of one quorum, so with one time-out.
  private struct Queue {
    let quorum: WriteQuorum
    var held: [Held] = []
    var start = 0

    var isEmpty: Bool { start == held.count }

    mutating func popFirst() -> Held {
      let first = held[start]
      start += 1
      if start == held.count {
        held.removeAll(keepingCapacity: true)
        start = 0
      } else if start >= 1_024 {
        held.removeFirst(start)
        start = 0
      }
      return first
    }
  }

  private let eventLoop: any EventLoop
  private let followers: Followers
  /// Gets them back, and whether the time was over.
  private let release: (_ submission: Submission, _ isLate: Bool) -> Void
  private var queues: [Queue] = []
  private var timer: Scheduled<Void>?
  private var isGivenUp = false
  private var isLooking = false
  var isEmpty: Bool { queues.allSatisfy(\.isEmpty) }
  /// Of all that is held.
  private(set) var bytes = 0

  init(
    eventLoop: any EventLoop, followers: Followers,
    release: @escaping (_ submission: Submission, _ isLate: Bool) -> Void
  ) {
    self.eventLoop = eventLoop
    self.followers = followers
    self.release = release
  }

  /// Takes a submission that has come back from the committer.
  ///
  /// - Parameter version: what other members have to have.
  func add(_ submission: Submission, version: UInt64) {
    let quorum = submission.quorum
    let number =
      queues.firstIndex { $0.quorum == quorum }
      ?? {
        // Those of a quorum that nobody wants now make room.
        queues.removeAll { $0.isEmpty }
        queues.append(Queue(quorum: quorum))
        return queues.count - 1
      }()
    followers.isAwaited()
    bytes += submission.bytes
    queues[number].held.append(
      Held(
        submission: submission, version: version,
        deadline: isGivenUp
          ? .now() : .now() + .milliseconds(Int64(quorum.timeoutMilliseconds))))
    if !isLooking { look() }
  }

  /// Ends all waits with what is known, those to come too: the node stops.
  func giveUp() {
    isGivenUp = true
    for number in queues.indices {
      for index in queues[number].held.indices {
        let held = queues[number].held[index]
        queues[number].held[index] = Held(
          submission: held.submission, version: held.version, deadline: .now())
      }
    }
    look()
  }

  /// Nothing comes any more: the loop ends.
  func stop() {
    timer?.cancel()
    timer = nil
    followers.acknowledgements.disarm(self)
  }

  /// Somebody has acknowledged a number that is waited for. On any thread.
  func numberApplied() {
    eventLoop.execute { self.look() }
  }

  /// Releases what enough members have, and what has waited for too long.
  private func look() {
    isLooking = true
    var hasMoved = true
    while hasMoved {
      // Before the look: what comes meanwhile wakes this loop again.
      arm()
      hasMoved = false
      for number in queues.indices where !queues[number].isEmpty {
        let members = queues[number].quorum.members
        let confirmed = followers.number(confirmedBy: members)
        let now = NIODeadline.now()
        while !queues[number].isEmpty {
          let first = queues[number].held[queues[number].start]
          guard first.version <= confirmed || first.deadline <= now else { break }
          hasMoved = true
          _ = queues[number].popFirst()
          bytes -= first.submission.bytes
          release(first.submission, first.version > confirmed)
        }
      }
    }
    isLooking = false
    setTimer()
  }

  private func arm() {
    let lowest = queues.lazy.filter { !$0.isEmpty }.map { $0.held[$0.start].version }.min()
    if let lowest { followers.acknowledgements.arm(self, at: lowest) }
  }

  private func setTimer() {
    let due = queues.lazy.filter { !$0.isEmpty }.map { $0.held[$0.start].deadline }.min()
    guard timer == nil, let due else { return }
    timer = eventLoop.assumeIsolated().scheduleTask(deadline: due) {
      self.timer = nil
      self.look()
    }
  }
}
