import Engine
import WAL

/// What a node does to follow another one's log: the shell around `FollowerState`.
extension SimulatedNode {
  func follow(_ leader: Int) {
    stands = false
    turn = .following(makeFollowing(leader))
    arm()
  }

  func makeFollowing(_ leader: Int) -> Following {
    Following(
      leader: leader,
      state: FollowerState(
        applied: log.end, origin: SimulatedLog.origin, now: now, jitter: shard.random.next()))
  }

  /// Ends the connection. What was written becomes durable, and is applied.
  func stopFollowing() {
    noteCaughtUp()
    if let following, let stream = following.stream {
      send(.streamClosed(stream: stream), to: following.leader)
    }
    following?.stream = nil
    flush()
  }

  func arm() {
    guard var following, let deadline = following.state.deadline else { return }
    let at = max(shard.now, deadline - min(deadline, clockOffset))
    guard at < following.tickAt else { return }
    following.tickAt = at
    self.following = following
    shard.schedule(.tick(life: life), for: number, in: at - shard.now)
  }

  func tick() {
    guard following != nil else { return }
    following!.tickAt = .max
    // A connection asks for what comes behind what is applied.
    if following!.stream == nil, !log.isSynced { return }
    perform(following!.state.tick(now))
    arm()
  }

  private func perform(_ action: FollowerState.Action?) {
    switch action {
    case nil: break
    case .connect(let request):
      let stream = shard.makeStream()
      following!.stream = stream
      following!.told = nil
      send(.streamRequest(stream: stream, after: request.after), to: following!.leader)
    case .disconnect(let reason): disconnect(reason)
    case .copy: shard.violate("\(name) is to copy")
    case .diverged(_, let leader): settle(leader)
    }
  }

  private func disconnect(_ reason: String) {
    guard let stream = following?.stream else { return }
    send(.streamClosed(stream: stream), to: following!.leader)
    disconnected(reason)
  }

  func disconnected(_ reason: String) {
    following!.stream = nil
    following!.state.closed(reason, now)
    arm()
  }

  func takeFromLeader(_ message: SimulatedMessage, _ node: Int) {
    if case .acknowledged(let position) = message {
      if following?.leader == node { following!.told = position }
      return
    }
    guard let stream = following?.stream else { return }
    switch message {
    case .streamOpened(stream, let previous):
      following!.state.heard(now)
      perform(
        following!.state.opened(
          SegmentHeader(
            origin: SimulatedLog.origin, previous: previous,
            durableSequence: previous.sequence, isShipped: true), now))
      if following?.stream != nil { acknowledge() }
    case .streamRefused(stream, let refusal):
      following!.stream = nil
      perform(following!.state.refused(refusal, now))
    case .frame(stream, let entry):
      following!.state.heard(now)
      guard following!.state.phase == .streaming,
        entry.previousCRC == following!.state.received.crc,
        entry.position.sequence == following!.state.received.sequence + 1
      else { return disconnect("no frame of this log") }
      following!.state.frame(entry.header)
      log.append(entry)
      if mutant == .acknowledgesBeforeSync { acknowledge(log.writtenEnd) }
      sync()
    case .heartbeat(stream, let position, let end, let confirmed):
      following!.state.heard(now)
      guard following!.state.phase == .streaming, position == following!.state.received else {
        return disconnect("no heartbeat of this log")
      }
      var header = log.entry(at: position.sequence).header
      header.confirmedSequence = confirmed
      following!.state.confirmed(header)
      following!.state.heartbeat(end: end, now)
      confirm(following!.state.confirmed)
      if following?.told != log.end { acknowledge() }
    default: return
    }
    arm()
  }

  /// What was written is durable and applied.
  func applied() {
    guard following != nil else { return }
    following!.state.applied(log.end)
    confirm(following!.state.confirmed)
    if following?.stream != nil { acknowledge() }
    if campaign?.chase != nil { chased() }
    arm()
  }

  private func acknowledge(_ position: LogPosition? = nil) {
    guard let leader = following?.leader, log.end.sequence > 0 else { return }
    let position = position ?? log.end
    switch mutant {
    case .acknowledgesBelowPromise: break
    case .confirmsOlderEpochs where campaign == nil: break
    default: guard voter.acknowledges(position.epoch) else { return }
    }
    send(.acknowledgement(position), to: leader)
  }

  /// Takes the log back to where the leader's history left it, and follows from there.
  private func settle(_ leader: [EpochHistory.Start]) {
    let peer = following!.leader
    stopFollowing()
    guard
      let fork = HistoryFork.find(
        own: log.epochs, through: log.end.sequence, leader: leader)
    else { return shard.violate("\(name) has no history in common with \(shard.names[peer])") }
    trace("rewinds from \(log.end.sequence) to \(fork.sequence)")
    log.rewind(to: fork.sequence)
    shard.rewound()
    owesEpoch = true
    reopen()
    if campaign != nil { endCampaign(.refused("diverged")) }
    follow(peer)
    obeyWaiting()
  }
}
