import Client
import Engine
import Logging
import NIOCore
import Synchronization
import WAL

/// Whoever leads the shard is looked for as long as the node lives.
extension NodeLife {
  func look(_ turn: Turn) {
    let seen: Watched? =
      switch turn {
      case .leading(let state):
        Watched(store: state.store, follower: nil, isWaiting: false, isLeading: true)
      case .following(let following):
        Watched(
          store: following.state.store, follower: following.follower, isWaiting: false,
          isLeading: false)
      case .waiting(let state):
        Watched(store: state.store, follower: nil, isWaiting: true, isLeading: false)
      case .copying: nil
      }
    watched.withLock { $0 = seen }
    if seen?.isWaiting == true { pause.withLock { $0 }?.cancel() }
  }

  private var isWaiting: Bool { watched.withLock { $0?.isWaiting ?? false } }

  /// Waits until the next look is due, or until a promise was given, behind which somebody leads soon.
  private func rest(wasWaiting: Bool) async {
    let sleep = Task { _ = try? await Task.sleep(for: Self.watchPause) }
    pause.withLock { $0 = sleep }
    if !wasWaiting, isWaiting { sleep.cancel() }
    await withTaskCancellationHandler {
      await sleep.value
    } onCancel: {
      sleep.cancel()
    }
  }

  /// Whether nobody leads, because of promises that came to nothing, and this node is to ask for them.
  private func isMissing(
    _ seen: Watched, _ reports: [Succession.Report], _ vacancy: inout Vacancy
  ) -> Bool {
    guard configuration.writeQuorum > 1, !stands.load(ordering: .relaxed) else { return false }
    let own = Vacancy.Own(
      voter: Voter(promised: promise.withLock { $0 }, logEpoch: seen.store.epoch),
      node: succession.node, isLeading: seen.isLeading)
    return vacancy.look(
      seen.isLeading || seen.isWaiting ? own : nil, reports: reports,
      now: NIODeadline.now().uptimeNanoseconds, jitter: .random(in: 0 ... .max))
  }

  /// Looks at the other members for one that leads and is not followed.
  func watch() async {
    let survey = MemberSurvey(members, pool)
    var rounds = 0
    var hurried = 0
    var vacancy = Vacancy()
    while !Task.isCancelled {
      let isHurried = isWaiting && hurried < Self.hurriedMax
      hurried = isWaiting ? hurried + 1 : 0
      if isHurried {
        try? await Task.sleep(for: Self.hurry)
      } else {
        await rest(wasWaiting: hurried > 0)
      }
      rounds += 1
      guard let seen = watched.withLock({ $0 }) else { continue }
      // As long as a stream is well, its sender is rarely another than the leader.
      if let follower = seen.follower, follower.report.trouble == nil, rounds % 3 != 0 { continue }
      let reports = await survey.ask().filter { $0.standing?.origin == seen.store.origin }
      if isMissing(seen, reports, &vacancy) {
        logger.notice("promises came to nothing, and nobody leads: this node asks for them")
        inbox.add(.order(LifeOrder(kind: .fillVacancy) { _ in }))
      }
      let leading = reports.filter(\.isLeading)
      guard let best = leading.max(by: { $0.standing!.epoch < $1.standing!.epoch }),
        let address = try? NodeAddress(parsing: best.address), address != seen.follower?.leader
      else { continue }
      inbox.add(.leader(address, best.standing!.epoch))
    }
  }
}
