import Engine
import NIOCore
import WAL

/// `GET /snapshot`: the file of the newest snapshot, for whoever makes a copy.
extension LoopState {
  func snapshot(
    _ request: StandardRequest, _ query: Parameters, _ lane: StandardLane
  ) -> Handling {
    lane.isFor(.snapshotFile)
    var replica: String?
    if let name = query.first("replica") {
      guard (1...limits.replicaNameBytesMax).contains(name.count),
        let text = String(validating: name, as: UTF8.self)
      else {
        return .now(
          badOption("replica must be a name of 1 to \(limits.replicaNameBytesMax) bytes"))
      }
      replica = text
    }
    guard !isDraining else { return .now(noSnapshot("the node is stopping")) }
    guard node.chargeSnapshotReader(limit: limits.snapshotReadersMax) else {
      return .now(noSnapshot("too many snapshots are being sent"))
    }
    let asked = SnapshotRequest(
      request.headers, replica: replica, leaseSeconds: limits.snapshotLeaseSeconds)
    let store = store
    // Called on the loop.
    nonisolated(unsafe) let lane = lane
    node.feedReaders.run(on: eventLoop) {
      asked.find(store)
    } then: { found in
      let handling = self.answer(asked, found, lane)
      if case .stream = handling {} else { self.node.releaseSnapshotReader() }
      lane.deliver(handling)
    }
    return .later
  }

  private func answer(
    _ asked: SnapshotRequest, _ found: SnapshotRequest.Found, _ lane: StandardLane
  ) -> Handling {
    switch found {
    case .file(let file, let info): return send(file, info, asked, lane)
    case .none:
      writeError("there is no snapshot yet: POST /admin/snapshot makes one")
      return .now(Answer(.notFound, .json))
    case .other:
      writeError("that snapshot is not here any more: begin again with the newest")
      return .now(Answer(.preconditionFailed, .json))
    case .tooManyLeases: return .now(noSnapshot("too many copies are being made"))
    case .failed(let error):
      node.logger.error("a snapshot cannot be sent: \(error)")
      writeError("\(error)")
      return .now(Answer(.internalError, .json))
    }
  }

  private func send(
    _ file: any File, _ info: SnapshotInfo, _ asked: SnapshotRequest, _ lane: StandardLane
  ) -> Handling {
    var fields: [(name: String, value: String)] = [
      ("ETag", info.tag), ("Accept-Ranges", "bytes"),
      ("X-KV-Snapshot-Sequence", "\(info.sequence)"),
    ]
    var bytes = 0..<info.bytes
    var status = Status.ok
    // A tag that is not this file's asks for all of it.
    if let range = asked.range, asked.rangeTag.map({ $0 == info.tag }) ?? true {
      guard let part = range.bytes(of: info.bytes) else {
        writeError("the snapshot has \(info.bytes) bytes")
        return .fields(
          Answer(.rangeNotSatisfiable, .json),
          [("ETag", info.tag), ("Content-Range", "bytes */\(info.bytes)")])
      }
      bytes = part
      status = .partialContent
      fields.append(
        (
          "Content-Range", "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(info.bytes)"
        ))
    }
    let tell = { [followers = node.followers] in
      if let replica = asked.replica { followers.snapshotRead(replica, sequence: info.sequence) }
    }
    tell()
    let stream = SnapshotStream(self, lane, file, bytes, fields: fields) { [store] in
      asked.lease(info, store)
      tell()
    }
    return .stream(Answer(status, .bytes), stream)
  }

  private func noSnapshot(_ reason: String) -> Answer {
    writeError(reason)
    var answer = Answer(.unavailable, .json)
    answer.retryAfterSeconds = 1
    return answer
  }
}
