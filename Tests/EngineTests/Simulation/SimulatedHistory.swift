import WAL

/// All that was said to be for good, by any node at any time: one history, or a rule is broken.
struct SimulatedHistory {
  /// Confirmed by a write quorum, in the order of their numbers.
  private(set) var confirmed: [LogPosition] = []
  private var begun: [Epoch: LogPosition] = [:]
  private(set) var acknowledgedCount = 0
  var epochCount: Int { begun.count }

  /// A node takes its log up to that number for confirmed: it shows that to readers.
  ///
  /// - Returns: what is wrong.
  mutating func confirm(_ number: UInt64, in log: SimulatedLog) -> String? {
    let common = min(Int(number), confirmed.count)
    if common > 0 {
      let own = log.entry(at: UInt64(common)).position
      let known = confirmed[common - 1]
      guard own == known else {
        return
          "\(common) of epoch \(own.epoch.short) is confirmed, as was that of epoch \(known.epoch.short)"
      }
    }
    while confirmed.count < Int(number) {
      confirmed.append(log.entry(at: UInt64(confirmed.count + 1)).position)
    }
    return nil
  }

  /// A client was told that its write is there.
  mutating func acknowledge(_ position: LogPosition, in log: SimulatedLog) -> String? {
    acknowledgedCount += 1
    return confirm(position.sequence, in: log)
  }

  mutating func begin(_ epoch: Epoch, at position: LogPosition) -> String? {
    guard let other = begun.updateValue(position, forKey: epoch), other != position else {
      return nil
    }
    return "epoch \(epoch.short) begins at \(position.sequence), and began at \(other.sequence)"
  }

  /// Whether that log has everything up to a number that is confirmed.
  func isIn(_ log: SimulatedLog, through count: Int) -> Bool {
    count == 0 || log.holds(confirmed[count - 1])
  }
}
