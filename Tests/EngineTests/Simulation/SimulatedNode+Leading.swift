import Engine
import WAL

/// What a node does for those who follow its log.
extension SimulatedNode {
  func open(_ number: Int, for follower: Int, behind position: LogPosition) {
    guard !isStarting else { return send(.streamClosed(stream: number), to: follower) }
    guard log.holds(position) else {
      let refusal = StreamRefusal(
        status: 409, reason: "diverged", lastEpoch: log.epochs.last?.epoch,
        origin: SimulatedLog.origin, epochs: log.epochs)
      return send(.streamRefused(stream: number, refusal), to: follower)
    }
    guard
      let id = progress.streamOpened(
        shard.names[follower], from: position.sequence + 1, at: now)
    else { return }
    if streams.count >= 8 { close(streams[0].number) }
    streams.append(Stream(number: number, follower: follower, id: id, sent: position))
    send(.streamOpened(stream: number, behind: position), to: follower)
    pump(streams.count - 1)
  }

  func close(_ number: Int) {
    guard let index = streams.firstIndex(where: { $0.number == number }) else { return }
    progress.streamClosed(streams[index].id, at: now)
    streams.remove(at: index)
  }

  /// Sends what the follower has not been sent.
  func pump(_ index: Int) {
    while streams[index].sent.sequence < log.end.sequence {
      let entry = log.entry(at: streams[index].sent.sequence + 1)
      send(.frame(stream: streams[index].number, entry), to: streams[index].follower)
      streams[index].sent = entry.position
      streams[index].toldConfirmed = max(streams[index].toldConfirmed, entry.confirmed)
    }
    progress.caughtUp(streams[index].id)
    if min(confirmed, streams[index].sent.sequence) > streams[index].toldConfirmed { beat(index) }
  }

  func beat(_ index: Int) {
    let stream = streams[index]
    guard stream.sent.sequence > 0 else { return }
    let told = min(confirmed, stream.sent.sequence)
    streams[index].toldConfirmed = max(stream.toldConfirmed, told)
    send(
      .heartbeat(
        stream: stream.number, behind: stream.sent, end: log.end.sequence, confirmed: told),
      to: stream.follower)
  }

  func acknowledged(_ position: LogPosition, by node: Int) {
    guard log.holds(position) || mutant == .countsOtherHistories else { return }
    guard progress.acknowledged(shard.names[node], position.sequence, at: now) else { return }
    send(.acknowledged(position), to: node)
    confirm(progress.confirmed(own: log.end.sequence, since: newestEpoch))
    release()
  }

  func confirm(_ number: UInt64) {
    guard number > confirmed else { return }
    confirmed = number
    shard.confirmed(number, by: self)
    for index in streams.indices { pump(index) }
  }

  /// Answers what enough members have, and gives up what has waited for too long.
  private func release() {
    held.removeAll { write in
      let number = progress.number(
        confirmedBy: write.quorum, own: log.end.sequence, since: newestEpoch)
      guard number >= write.position.sequence else { return write.deadline <= shard.now }
      shard.acknowledged(write.position, by: self)
      return true
    }
  }
}
