import SimulatedDisk

/// What goes wrong, and what clients ask meanwhile.
extension SimulatedShard {
  func chaos() {
    schedule(.chaos, for: -1, in: 20_000_000 + random.next() % 250_000_000)
    let node = nodes[random.below(count)]
    if isEager, random.once(in: 3) { return promote(node) }
    switch random.below(100) {
    case ..<45: write()
    case ..<53: read()
    case ..<65: crash(node)
    case ..<70:
      node.stoppedUntil = now + random.next() % (4 * Self.second)
      trace("\(node.name): is stopped until \(node.stoppedUntil / 1_000_000) ms")
    case ..<82: promote(node)
    case ..<86:
      promote(node)
      promote(nodes[random.below(count)])
    case ..<92: partition()
    case ..<97:
      trace("the network is whole")
      network.join()
    default: node.clockOffset += random.next() % (20 * Self.second)
    }
  }

  /// To whoever leads, or takes itself for the leader.
  private func write() {
    let leading = nodes.filter(\.isLeading)
    guard !leading.isEmpty else { return }
    for _ in 0...random.below(3) {
      writes += 1
      let quorum =
        random.once(in: 6) ? writeQuorum + random.below(count - writeQuorum + 1) : writeQuorum
      leading[random.below(leading.count)].write(writes, quorum: quorum)
    }
  }

  private func read() {
    var quorum = count - writeQuorum + 1
    if mutant == .readsFromFewer { quorum -= 1 }
    guard quorum > 0 else { return }
    reads.append(Read(quorum: quorum, confirmed: history.confirmed.count))
    for number in names.indices.shuffled(using: &random).prefix(quorum) {
      queue.add(
        .delivery(.question(read: reads.count - 1), from: number), for: number,
        at: now + random.next() % (Self.second / 2))
    }
  }

  private func crash(_ node: SimulatedNode) {
    guard node.isUp else { return }
    let isCut = random.once(in: 4)
    // One disk of a shard loses what it had synced: with a write quorum of 2 no more are allowed to.
    let isDamaged = isCut && mayDamage && node.log.end.sequence > 1 && random.once(in: 2)
    if isDamaged { (mayDamage, self.isDamaged) = (false, true) }
    node.crash(keeping: random.below(4), isCut: isCut, isDamaged: isDamaged)
    node.stoppedUntil = 0
    schedule(.restart, for: node.number, in: 20_000_000 + random.next() % (2 * Self.second))
  }

  private func promote(_ node: SimulatedNode) {
    guard node.isUp, node.stoppedUntil <= now else { return }
    trace("\(node.name): is to lead")
    node.order(.promote)
  }

  private func partition() {
    let side = names.indices.filter { _ in random.once(in: 2) }
    let isOneWay = random.once(in: 4)
    trace("the network is cut between \(side.map { names[$0] }) and the others")
    for from in side {
      for to in names.indices where !side.contains(to) {
        network.cut(from, to)
        if !isOneWay { network.cut(to, from) }
      }
    }
  }
}
