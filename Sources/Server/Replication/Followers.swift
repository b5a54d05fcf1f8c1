import Engine
import Synchronization
import WAL

/// Those who follow this node's log, as all event loops see them: `LeaderProgress` behind a lock, and
/// who waits for it to move.
final class Followers: Sendable {
  private let progress: Mutex<LeaderProgress>
  private let store: Store
  private var feed: LogFeed { store.feed }
  private let clock: LogClock
  private let quorum: Int
  private let confirmedNumber = Atomic<UInt64>(0)
  /// For so long behind a write that waited replicas do not take their time.
  private static let hurryNanoseconds: UInt64 = 100_000_000
  private let awaitedAt = Atomic<UInt64>(0)
  /// Called with names that were not known before, and with those that are forgotten.
  private let changed = Mutex<@Sendable (_ joined: [String], _ left: [String]) -> Void>({ _, _ in })
  /// Fires with every number that a replica has acknowledged.
  let acknowledgements = AppliedSignal()
  /// Fires when the confirmed number moves, where it takes more than this node.
  let confirmations = AppliedSignal()
  /// The members of the shard, this node included.
  let memberCount: Int

  /// - Parameters:
  ///   - members: those of the shard; empty for this node alone.
  ///   - own: this node's ID.
  ///   - quorum: members that make a write count as confirmed.
  init(
    members: [Member], own: String, quorum: Int, copySeconds: Int, store: Store
  ) {
    let others = members.filter { $0.id != own }
    let progress = LeaderProgress(
      others: others.map { LeaderProgress.Peer(id: $0.id, address: $0.address) },
      quorum: quorum, copySeconds: UInt64(copySeconds))
    memberCount = progress.memberCount
    self.progress = Mutex(progress)
    self.quorum = quorum
    self.store = store
    clock = store.options.clock
    if quorum > 1 {
      // A failover does not take back what was confirmed before this process began.
      feed.setConfirmed(store.confirmedAtStart)
      confirmedNumber.store(store.confirmedAtStart, ordering: .relaxed)
      store.snapshots.setBound { [weak self] in self?.confirmed ?? 0 }
    }
    store.snapshots.leases.setFollowers { [weak self] in self?.needed }
  }

  private var now: UInt64 { clock.monotonicNanoseconds() }

  // MARK: - Events

  /// Has `body` called with the names of the replicas that are known; then of those that come, and of
  /// those that are forgotten.
  func onChange(_ body: @escaping @Sendable (_ joined: [String], _ left: [String]) -> Void) {
    changed.withLock { $0 = body }
    body(progress.withLock { $0.ids }, [])
  }

  private func change<R>(_ id: String, _ body: (inout LeaderProgress) -> R) -> R {
    var (before, after): ([String], [String]) = ([], [])
    let result = progress.withLock { progress in
      let isKnown = progress.knows(id)
      if !isKnown { before = progress.ids }
      defer { if !isKnown { after = progress.ids } }
      return body(&progress)
    }
    if before != after {
      let changed = changed.withLock { $0 }
      changed(after.filter { !before.contains($0) }, before.filter { !after.contains($0) })
    }
    return result
  }

  func streamOpened(_ id: String, from: UInt64) -> LeaderProgress.StreamID? {
    let now = now
    return change(id) { $0.streamOpened(id, from: from, at: now) }
  }

  func streamClosed(_ stream: LeaderProgress.StreamID) {
    let now = now
    progress.withLock { $0.streamClosed(stream, at: now) }
  }

  func caughtUp(_ stream: LeaderProgress.StreamID) {
    progress.withLock { $0.caughtUp(stream) }
  }

  func fellBehind(_ stream: LeaderProgress.StreamID) {
    progress.withLock { $0.fellBehind(stream) }
  }

  func snapshotRead(_ id: String, sequence: UInt64) {
    let now = now
    change(id) { $0.snapshotRead(id, sequence: sequence, at: now) }
  }

  /// A replica has everything up to there, which is of this history.
  ///
  /// - Returns: false when there are too many replicas.
  func acknowledged(_ id: String, _ sequence: UInt64) -> Bool {
    let now = now
    let own = feed.end.sequence
    let (isTaken, confirmed) = change(id) { progress in
      (
        progress.acknowledged(id, sequence, at: now),
        progress.confirmed(own: own, since: newestEpoch)
      )
    }
    acknowledgements.fire(sequence)
    if quorum > 1 { move(to: confirmed) }
    return isTaken
  }

  /// The node that this one follows has said what is confirmed: so much of it is applied here.
  func told(confirmed: UInt64) {
    if quorum > 1 { move(to: confirmed) }
  }

  /// This node has promised an epoch.
  ///
  /// - Parameter own: what it had then; 0 where that is not known.
  func pledged(_ epoch: Epoch, own: UInt64) {
    progress.withLock { $0.pledged(epoch, own: own, since: newestEpoch) }
  }

  /// To be read behind what was acknowledged, so under the lock.
  private var newestEpoch: EpochHistory.Start? { store.epochs.last }

  /// A write waits for what replicas acknowledge.
  func isAwaited() { awaitedAt.store(now, ordering: .relaxed) }

  /// One did just now: they had better hurry.
  var areAwaited: Bool {
    let at = awaitedAt.load(ordering: .relaxed)
    return at > 0 && now &- at < Self.hurryNanoseconds
  }

  private func move(to confirmed: UInt64) {
    var current = confirmedNumber.load(ordering: .relaxed)
    while confirmed > current {
      let (isExchanged, found) = confirmedNumber.compareExchange(
        expected: current, desired: confirmed, ordering: .sequentiallyConsistent)
      if isExchanged {
        feed.setConfirmed(confirmed)
        return confirmations.fire(confirmed)
      }
      current = found
    }
  }

  // MARK: - Answers

  /// What a quorum has durable and applied.
  var confirmed: UInt64 { quorum > 1 ? confirmedByOthers : feed.end.sequence }

  /// The same, as far as it needs other members: what they alone can move; 0 where it needs none.
  var confirmedByOthers: UInt64 { confirmedNumber.load(ordering: .sequentiallyConsistent) }

  func armConfirmed(_ listener: any AppliedListener, at sequence: UInt64) {
    if quorum > 1 { confirmations.arm(listener, at: sequence) }
  }

  /// What so many members have durable and applied, this node included.
  func number(confirmedBy members: Int) -> UInt64 {
    let own = feed.end.sequence
    return progress.withLock { $0.number(confirmedBy: members, own: own, since: newestEpoch) }
  }

  /// How many members have that record durable and applied.
  func count(having sequence: UInt64) -> Int {
    let own = feed.end.sequence
    return progress.withLock { $0.count(having: sequence, own: own) }
  }

  /// Members that a write may wait for, this node included.
  var streamingCount: Int { progress.withLock { $0.streamingCount } }

  private var needed: UInt64? {
    let isLeading = !store.isCopy
    return progress.withLock { $0.needed(isLeading: isLeading) }
  }

  var rows: [LeaderProgress.Row] {
    let now = now
    let wall = clock.wallMilliseconds()
    let progress = progress.withLock { $0 }
    return progress.rows(at: now, isLeading: !store.isCopy) { feed.lag(behind: $0, now: wall) }
  }

  func row(_ id: String) -> LeaderProgress.Row? { rows.first { $0.id == id } }
}
