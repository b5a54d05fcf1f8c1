import Engine
import NIOCore
import NIOPosix
import WAL

/// `GET /admin/diverged`: what this node has lost to other histories, and keeps.
///
/// Without parameters the tails, as one document. With `tail=NAME` a page of that tail's writes, a line of
/// JSON for each; with `log=current` a page of those of the log itself, which shows what was written
/// since a fork. `from` is the first sequence number, `limit` bounds the lines, `values=true` adds the
/// values. `X-KV-Next` names where the next page begins, as long as there is one.
extension LoopState {
  func diverged(_ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.diverged)
    let asked: DivergedQuery
    do {
      asked = try DivergedQuery(query)
    } catch {
      return .now(badOption(error.message))
    }
    let store = store
    let made = NIOSingletons.posixBlockingThreadPool.runIfActive(eventLoop: eventLoop) {
      asked.answer(from: store)
    }
    made.assumeIsolated().whenComplete { result in
      switch result {
      case .success(let found): lane.deliver(self.answer(found))
      case .failure(let error):
        self.writeError("\(error)")
        lane.deliver(.now(Answer(.internalError, .json)))
      }
    }
    return .later
  }

  private func answer(_ found: DivergedQuery.Found) -> Handling {
    switch found {
    case .list(let json):
      body.writeImmutableBuffer(json)
      return .now(Answer(.ok, .json))
    case .page(let lines, let next):
      body.writeImmutableBuffer(lines)
      guard let next else { return .now(Answer(.ok, .ndjson)) }
      return .fields(Answer(.ok, .ndjson), [("X-KV-Next", "\(next)")])
    case .unknown(let name):
      writeError("no tail is named \(name) here")
      return .now(Answer(.notFound, .json))
    case .failed(let error):
      writeError("\(error)")
      if case .notRetained = error { return .now(Answer(.gone, .json)) }
      node.logger.error("what was lost cannot be read: \(error)")
      return .now(Answer(.internalError, .json))
    }
  }
}
