import Engine
import NIOCore
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// `POST /admin/repair`: everything on the disk that does not change any more is read, and healed where
/// it is damaged.
extension LoopState {
  func repair(_ lane: StandardLane) -> Handling {
    lane.isFor(.repair)
    guard !isDraining else { return .now(notRepaired("the node is stopping")) }
    // One wait with those for a snapshot: both are for the same thread.
    guard snapshotWaiters.count < limits.snapshotWaitersMax else {
      return .now(notRepaired("too many requests wait for it"))
    }
    let promise = eventLoop.makePromise(of: RepairReport.self)
    snapshotWaiters.append(lane)
    node.store.snapshots.requestRepair { promise.completeWith($0.mapError { $0 as any Error }) }
    promise.futureResult.assumeIsolated().whenComplete { result in
      guard let waiter = self.snapshotWaiters.firstIndex(where: { $0 === lane }) else { return }
      self.snapshotWaiters.remove(at: waiter)
      do {
        let json = try JSONEncoder.status.encode(RepairAnswer(try result.get()))
        self.body.writeBytes(json)
        lane.deliver(.now(Answer(.ok, .json)))
      } catch {
        self.writeError("not repaired: \(error)")
        let isFull = (error as? WALError)?.isFullDisk ?? false
        lane.deliver(.now(Answer(isFull ? .insufficientStorage : .unavailable, .json)))
      }
    }
    return .later
  }

  private func notRepaired(_ reason: String) -> Answer {
    writeError("not repaired: \(reason)")
    var answer = Answer(.unavailable, .json)
    answer.retryAfterSeconds = 1
    return answer
  }
}
