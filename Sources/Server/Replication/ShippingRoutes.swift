import Engine
import NIOCore
import WAL

/// `GET /wal/stream`, the log for those who follow it, and `POST /wal/ack`, how far they are.
extension LoopState {
  /// In the answer that a stream of the log is.
  static let keysField = "X-KV-Keys"

  func logStream(_ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.logStream)
    let asked: FollowerQuery
    do {
      asked = try FollowerQuery(query, sequence: "from", least: 1, limits: limits)
    } catch {
      return .now(badOption(error.message))
    }
    guard let from = asked.sequence else {
      return .now(badOption("from is missing: the first sequence number that is wanted"))
    }
    guard asked.replica != node.id else { return .now(badOption("\(node.id) is this node")) }
    guard !isDraining else { return .now(unavailable("the node is stopping")) }
    let store = log(asked.origin)
    // Called on the loop.
    nonisolated(unsafe) let lane = lane
    node.feedReaders.run(on: eventLoop) {
      StreamStart.find(from, asked, in: store)
    } then: { start in
      lane.deliver(self.begin(start, store, asked.replica, lane))
    }
    return .later
  }

  /// The log that somebody asks for; where that is not here, the node's own, which is another one then.
  func log(_ origin: UInt64?) -> Store {
    origin.flatMap { node.merged?.log($0) } ?? store
  }

  private func begin(
    _ start: StreamStart, _ store: Store, _ replica: String?, _ lane: StandardLane
  ) -> Handling {
    switch start {
    case .refused(let refusal): return .now(answer(refusal))
    case .found(let cursor, let previous):
      guard
        let stream = LogStream.open(
          self, lane, of: store, from: cursor, behind: previous, replica: replica)
      else { return .now(unavailable("there are too many followers")) }
      var answer = Answer(.ok, .bytes)
      answer.epoch = store.epoch
      // The state of a leaderless shard follows from several logs.
      if !store.isMerged { answer.keys = store.index.count }
      return .stream(answer, stream)
    }
  }

  func acknowledge(_ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.acknowledgement)
    let said: FollowerQuery
    do {
      said = try FollowerQuery(query, sequence: "seq", least: 0, limits: limits)
    } catch {
      return .now(badOption(error.message))
    }
    guard let replica = said.replica, let epoch = said.epoch, let sequence = said.sequence,
      let crc = said.crc
    else { return .now(badOption("replica, epoch, seq and crc are needed")) }
    guard replica != node.id else { return .now(badOption("\(node.id) is this node")) }
    let position = LogPosition(epoch: epoch, sequence: sequence, crc: crc)
    // Who has how much of it is for whom to know who writes it.
    if let origin = said.origin, origin != store.origin, node.merged?.log(origin) != nil {
      return .now(Answer(.noContent))
    }
    if said.origin ?? store.origin == store.origin, store.feed.recentlyHolds(position) == true {
      var answer = acknowledged(replica, position)
      // The next one can go by the fast lane, to which nothing leads back but a new connection.
      answer.closes = answer.closes || node.configuration.usesFastLane
      return .now(answer)
    }
    let store = store
    // Called on the loop.
    nonisolated(unsafe) let lane = lane
    node.feedReaders.run(on: eventLoop) {
      Self.refusal(position, origin: said.origin, store)
    } then: { refusal in
      var answer = refusal.map { self.answer($0) } ?? self.acknowledged(replica, position)
      // Who is so far behind is not to hurry: each takes a look into the files.
      answer.isAwaited = false
      lane.deliver(.now(answer))
    }
    return .later
  }

  private func acknowledged(_ replica: String, _ position: LogPosition) -> Answer {
    guard node.followers.acknowledged(replica, position.sequence) else {
      return unavailable("there are too many followers")
    }
    var answer = Answer(.noContent)
    answer.isAwaited = node.followers.areAwaited
    return answer
  }

  /// Takes an acknowledgement as a follower words it, of a position that is known without a look into
  /// the files. The same as by the standard pipeline.
  ///
  /// - Returns: nil when it is not such a one.
  func acknowledge(_ query: UnsafeRawBufferPointer) -> Answer? {
    var rest = query[...]
    func field(_ name: StaticString) -> Slice<UnsafeRawBufferPointer>? {
      let count = name.utf8CodeUnitCount
      guard rest.count > count,
        rest.prefix(count).elementsEqual(UnsafeBufferPointer(start: name.utf8Start, count: count))
      else { return nil }
      let end = rest.firstIndex(of: UInt8(ascii: "&")) ?? rest.endIndex
      defer { rest = end < rest.endIndex ? rest[(end + 1)...] : rest[end...] }
      return rest[(rest.startIndex + count)..<end]
    }
    guard let replica = field("replica="), let epoch = field("epoch="),
      let sequence = field("seq="),
      let crc = field("crc="), let origin = field("origin="), rest.isEmpty,
      let name = Self.name(replica), (1...limits.replicaNameBytesMax).contains(name.utf8.count),
      let dash = epoch.firstIndex(of: UInt8(ascii: "-")),
      let epochNumber = DecimalText.parse(UnsafeRawBufferPointer(rebasing: epoch[..<dash])),
      let epochNode = Self.hexNumber(epoch[(dash + 1)...], digits: 16),
      let number = DecimalText.parse(UnsafeRawBufferPointer(rebasing: sequence)),
      let checksum = Self.hexNumber(crc, digits: 8),
      let log = Self.hexNumber(origin, digits: 16), name != node.id
    else { return nil }
    // Who has how much of it is for whom to know who writes it.
    if log != store.origin { return node.merged?.log(log) == nil ? nil : Answer(.noContent) }
    let position = LogPosition(
      epoch: Epoch(number: epochNumber, node: epochNode), sequence: number, crc: UInt32(checksum))
    guard store.feed.recentlyHolds(position) == true else { return nil }
    return acknowledged(name, position)
  }

  /// Nil for what is no text, too.
  private static func name(_ encoded: Slice<UnsafeRawBufferPointer>) -> String? {
    let text = UnsafeRawBufferPointer(rebasing: encoded)
    return withUnsafeTemporaryAllocation(byteCount: max(1, text.count), alignment: 1) { bytes in
      PercentEncoding.decode(query: text, into: bytes).flatMap {
        String(validating: bytes[..<$0], as: UTF8.self)
      }
    }
  }

  private static func hexNumber(
    _ text: Slice<UnsafeRawBufferPointer>, digits: Int
  ) -> UInt64? {
    guard text.count == digits else { return nil }
    var number: UInt64 = 0
    for byte in text {
      switch byte {
      case 0x30...0x39: number = number << 4 | UInt64(byte - 0x30)
      case 0x61...0x66: number = number << 4 | UInt64(byte - 0x61 + 10)
      default: return nil
      }
    }
    return number
  }

  /// Why that position is none of this history; nil when it is one. Off the event loop.
  private static func refusal(
    _ position: LogPosition, origin: UInt64?, _ store: Store
  ) -> HistoryRefusal? {
    do throws(WALError) {
      guard origin ?? store.origin == store.origin, try store.feed.holds(position) else {
        return HistoryRefusal(
          .diverged,
          "this history has no frame with crc \(hexadecimal(position.crc)) of epoch "
            + "\(position.epoch.text) that ends at \(position.sequence)", store)
      }
      return nil
    } catch {
      return HistoryRefusal(error, store)
    }
  }

  private func answer(_ refusal: HistoryRefusal) -> Answer {
    if case .failed(let error) = refusal.kind { logFailedFeed(error) }
    refusal.write(into: &body)
    return Answer(refusal.status, .json)
  }

  func unavailable(_ reason: String) -> Answer {
    writeError(reason)
    var answer = Answer(.unavailable, .json)
    answer.retryAfterSeconds = 1
    return answer
  }
}
