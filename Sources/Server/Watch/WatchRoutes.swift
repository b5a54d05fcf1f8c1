import Engine
import NIOCore
import WAL

/// `GET /watch`: the changes of the log, as they happen.
extension LoopState {
  func watch(_ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.watch)
    var from: UInt64?
    if let text = query.first("from") {
      guard let number = text.withUnsafeBytes({ DecimalText.parse($0) }),
        (1..<Format.sequenceLimit).contains(number)
      else { return .now(badOption("from must be a sequence number: 1 or more")) }
      from = number
    }
    let prefix = query.first("prefix") ?? []
    guard prefix.count <= Format.keyBytesMax else {
      return .now(badOption("prefix is longer than a key can be"))
    }
    var epoch: Epoch?
    if let text = query.text("epoch") {
      epoch = Epoch(text[...])
      guard epoch != nil else {
        return .now(badOption("epoch must be a number, a dash and a node's 16 hex digits"))
      }
    }
    var store = store
    if let text = query.text("origin") {
      guard let origin = UInt64(text, radix: 16), text.utf8.count == 16,
        let log = origin == store.origin ? store : node.merged?.log(origin)
      else { return .now(badOption("there is no log \(text) here")) }
      store = log
    }
    switch readOptions(query, isRead: true) {
    case .refused(let answer): return .now(answer)
    case .wait(let awaited): return wait(awaited, lane) { self.watch(query, lane) }
    case .waitFor(let context, let timeout):
      return wait(for: context, timeout, node.merged!, lane) { self.watch(query, lane) }
    case .go: break
    }
    let applied = store.index.appliedSequence
    if let epoch, let answer = refuse(epoch, store, from: from ?? applied + 1, applied: applied) {
      return .now(answer)
    }
    guard !isDraining else { return .now(watchUnavailable("the node is stopping")) }
    let current = store.epoch
    let encoder = ChangeEncoder(from: from ?? applied + 1, prefix: prefix, epoch: current)
    // A number that is not there yet is waited for, from here.
    let start = min(from ?? .max, applied + 1)
    guard let stream = WatchStream.open(self, lane, of: store, from: start, encoder: encoder) else {
      return .now(watchUnavailable("there are too many watchers"))
    }
    var answer = Answer(.ok, .ndjson)
    answer.epoch = current
    return stream.begin(answer)
  }

  /// The answer when somebody who followed that epoch's history does not have what precedes `from`
  /// here.
  private func refuse(_ epoch: Epoch, _ store: Store, from: UInt64, applied: UInt64) -> Answer? {
    if from - 1 > applied {
      writeError("this node's history ends at \(applied), before \(from)")
    } else if !store.epochs.agrees(with: epoch, through: from - 1) {
      writeError("up to \(from - 1) the history of epoch \(epoch.text) is not this one")
    } else {
      return nil
    }
    return Answer(.conflict, .json)
  }

  private func watchUnavailable(_ reason: String) -> Answer {
    writeError(reason)
    var answer = Answer(.unavailable, .json)
    answer.retryAfterSeconds = 1
    return answer
  }

  /// The answer when the log cannot be read from there.
  func refuseWatch(_ error: WALError) -> Answer {
    let said = WatchError(error)
    said.write(into: &body)
    guard said.oldest == nil else { return Answer(.gone, .json) }
    logFailedFeed(error)
    return Answer(.internalError, .json)
  }

  func logFailedFeed(_ error: WALError) {
    if case .notRetained = error { return }
    node.logger.error("a feed of the log ends: \(error)")
  }
}
