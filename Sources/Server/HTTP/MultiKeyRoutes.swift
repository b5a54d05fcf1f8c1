import Engine
import NIOCore
import WAL

/// The routes for several keys.
extension LoopState {
  /// The most that the values of one answer may come to.
  var answerBytesMax: Int { 32 << 20 }

  /// `GET /kv?key=a&key=b`: a line for each, in the order asked for. Without keys, a page.
  func entries(_ query: Parameters, _ lane: StandardLane) -> Handling {
    let keys = query.all("key")
    guard !keys.isEmpty else { return page(query, lane) }
    lane.isFor(.multiGet)
    guard keys.allSatisfy({ !$0.isEmpty }) else { return .now(badRequest("a key is empty")) }
    guard keys.allSatisfy({ $0.count <= limits.keyBytesMax }) else {
      writeError("a key is longer than \(limits.keyBytesMax) bytes")
      return .now(Answer(.targetTooLong, .json))
    }
    do throws(StandardRequest.Refusal) {
      if try PageRequest.isOfCluster(query), shardCount > 1, let cluster = node.cluster {
        return clusterEntries(keys, cluster, query, lane)
      }
    } catch {
      writeError(error.reason)
      return .now(Answer(error.status, .json))
    }
    return reading(query, lane, keys: keys) { self.entries(keys) }
  }

  private func entries(_ keys: [[UInt8]]) -> Handling {
    for key in keys {
      if let shard = key.withUnsafeBytes({ foreignShard($0) }) {
        writeForeign(key, shard)
      } else {
        _ = key.withUnsafeBytes { read(.jsonGet, $0) }
      }
      body.writeStaticString("\n")
      guard body.readableBytes <= answerBytesMax else {
        body.clear()
        writeError("the values are larger than \(answerBytesMax) bytes together: ask for fewer")
        return .now(Answer(.contentTooLarge, .json))
      }
    }
    return .now(Answer(.ok, .ndjson))
  }

  /// `POST /batch`: a line for each operation; all happen or none.
  func batch(_ request: StandardRequest, _ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.batch)
    if shardCount > 1, let shard = batchShard(request.body) {
      return elsewhere(shard, lane, isRead: false) ?? .now(unavailable("nobody has shard \(shard)"))
    }
    if let handling = heldBack(lane) ?? ledElsewhere(lane) { return handling }
    if let answer = writeOptions(query, lane) { return .now(answer) }
    guard let lifetime = TimeToLive(query.first("ttl")) else { return .now(badTimeToLive()) }
    guard hasRoom(forBytes: request.body.readableBytes) else { return .now(overloaded(.batch)) }
    let submission = gather(lane.quorum)
    let start = submission.bytes
    submission.beginBatch()
    if let refusal = gatherBatch(request.body, lifetime, submission, start: start) {
      submission.abandonBatch()
      writeError(refusal.reason)
      return .now(Answer(refusal.status, .json))
    }
    submission.endBatch(token: lane.token)
    return .later
  }

  /// The shard of a batch's first key, where that is not this node's.
  private func batchShard(_ body: ByteBuffer) -> Int? {
    let blanks: [UInt8] = [0x20, 0x09, 0x0d]
    let lines = body.readableBytesView.split(separator: UInt8(ascii: "\n"))
    guard let first = lines.first(where: { !$0.allSatisfy(blanks.contains) }) else { return nil }
    // What is wrong with it is said where it is added.
    guard let operation = try? JSONOperation(line: Array(first)) else { return nil }
    return operation.key.withUnsafeBytes { foreignShard($0) }
  }

  /// - Parameter lifetime: of the puts that do not say their own.
  /// - Returns: why the batch is refused; nil when all of it was added.
  private func gatherBatch(
    _ body: ByteBuffer, _ lifetime: TimeToLive, _ submission: Submission, start: Int
  ) -> StandardRequest.Refusal? {
    body.withUnsafeReadableBytes { bytes in
      // Keys of one batch that live equally long go together.
      let now = store.nowMilliseconds
      var operations = 0
      var number = 0
      for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
        number += 1
        if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }) { continue }
        operations += 1
        guard operations <= limits.batchOperationsMax else {
          return StandardRequest.Refusal(
            status: .contentTooLarge,
            reason: "more than \(limits.batchOperationsMax) operations")
        }
        if let refusal = add(Array(line), number, lifetime, now: now, submission) {
          return refusal
        }
        guard submission.bytes - start <= limits.batchBytesMax else {
          return StandardRequest.Refusal(
            status: .contentTooLarge,
            reason: "the batch is larger than \(limits.batchBytesMax) bytes")
        }
      }
      guard operations > 0 else {
        return StandardRequest.Refusal(status: .badRequest, reason: "the batch is empty")
      }
      return nil
    }
  }

  private func add(
    _ line: [UInt8], _ number: Int, _ lifetime: TimeToLive, now: UInt64,
    _ submission: Submission
  ) -> StandardRequest.Refusal? {
    do {
      let operation = try JSONOperation(line: line)
      guard operation.key.count <= limits.keyBytesMax else {
        return StandardRequest.Refusal(
          status: .targetTooLong,
          reason: "line \(number): the key is longer than \(limits.keyBytesMax) bytes")
      }
      if let shard = operation.key.withUnsafeBytes({ foreignShard($0) }) {
        return StandardRequest.Refusal(
          status: .badRequest,
          reason: "line \(number): the key belongs to shard \(shard), those before it to shard "
            + "\(node.shard): a batch is of one shard")
      }
      guard operation.value.count <= limits.valueBytesMax else {
        return StandardRequest.Refusal(
          status: .contentTooLarge,
          reason: "line \(number): the value is larger than \(limits.valueBytesMax) bytes")
      }
      let own = operation.lifetime == .unbounded ? lifetime : operation.lifetime
      operation.key.withUnsafeBytes { key in
        switch operation.kind {
        case .put:
          operation.value.withUnsafeBytes {
            submission.addPut(key, $0, expiry: own.expiry(now: now))
          }
        case .delete: submission.addDelete(key)
        }
      }
      return nil
    } catch {
      return StandardRequest.Refusal(
        status: .badRequest, reason: "line \(number): \(error.reason)")
    }
  }
}
