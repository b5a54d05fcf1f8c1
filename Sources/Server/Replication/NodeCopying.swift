import Client
import Engine
import Logging
import NIOCore
import Synchronization
import WAL

/// What a copy begins with.
extension NodeLife {
  /// Gets what a copy begins with.
  ///
  /// - Returns: the log's id, where nothing on the disk says it.
  func bootstrap(from leader: NodeAddress) async throws -> UInt64? {
    guard try directory.isEmpty() else { return nil }
    progress.begin(.copying)
    let status = try await wait(for: Peer(address: leader, pool: pool))
    guard let origin = status.originNumber else {
      throw Peer.Unusable(description: "\(leader) does not say its log's id")
    }
    if status.snapshot.sequence > 0 || status.wal.oldest_sequence > 1 {
      try await transfer(from: leader)
      return nil
    }
    return origin
  }

  /// Whom to copy where nothing is here: the one that is named or, where that does not answer, whoever leads.
  func leaderToCopy(_ named: NodeAddress) async throws -> NodeAddress {
    guard try directory.isEmpty(), !members.isEmpty else { return named }
    progress.begin(.copying)
    var said = false
    while true {
      do {
        _ = try await Peer(address: named, pool: pool).status()
        return named
      } catch let error where !(error is CancellationError) {
        if !said { logger.notice("waiting for the leader: \(error)") }
        said = true
      }
      let leading = await MemberSurvey(members, pool).ask()
        .filter { $0.isLeading && $0.standing != nil }
      if let best = leading.max(by: { $0.standing!.epoch < $1.standing!.epoch }) {
        return try NodeAddress(parsing: best.address)
      }
      try progress.check()
      try await Task.sleep(for: Self.retry)
    }
  }

  func wait(for peer: Peer) async throws -> Peer.Status {
    var said = false
    while true {
      do {
        return try await peer.status()
      } catch let error where !(error is CancellationError) {
        if !said { logger.notice("waiting for the leader: \(error)") }
        said = true
      }
      try progress.check()
      try await Task.sleep(for: Self.retry)
    }
  }

  func transfer(from leader: NodeAddress) async throws {
    let start = NIODeadline.now()
    let transfer = SnapshotTransfer(
      peer: Peer(address: leader, pool: pool), id: id,
      directory: SnapshotDirectory(configuration.dataDirectory), progress: progress)
    let path = try await transfer.run()
    let bytes = try SystemFileSystem().open(path, .readOnly).size()
    let seconds = Double((NIODeadline.now() - start).nanoseconds) / 1e9
    logger.notice(
      "fetched the snapshot of \(leader): \(bytes) bytes in \((seconds * 1_000).rounded() / 1_000) s"
    )
  }
}
