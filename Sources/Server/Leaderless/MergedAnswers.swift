import Engine
import NIOCore
import WAL

/// What the data routes say of a key in a leaderless shard.
extension LoopState {
  static let contextField = "X-KV-Context"
  static let seenField = "X-KV-Seen"
  /// In the entity tags of a leaderless shard, in place of an epoch.
  static let mergedEpoch = Epoch(number: 0, node: 0)

  /// As `read`, of what the logs come to together.
  func read(_ route: Route, _ key: UnsafeRawBufferPointer, of merged: MergedStore) -> ReadAnswer {
    if gathered == nil, route == .restGet, let answer = readOnly(key, of: merged) { return answer }
    var versions = gathered?[Array(key)] ?? merged.state.versions(of: key)
    versions.hide(at: store.nowMilliseconds)
    guard let newest = versions.newest else {
      var answer = absent(route, key)
      // Nothing says which write has removed it: all that is here may have.
      answer.seen = merged.state.applied
      return ReadAnswer(answer: answer)
    }
    let isConflict = versions.all.count > 1 && node.configuration.conflicts == .siblings
    var answer = Answer(.ok, version: newest.stamp)
    answer.context = versions.context
    switch route {
    case .classicGet:
      newest.value.withUnsafeBytes { node.dialect.writeValue($0, into: &body) }
    case .jsonGet, .localRead:
      answer.contentType = .json
      body.writeStaticString("{")
      JSONText.writeMember("key", key, into: &body)
      body.writeStaticString(",")
      newest.value.withUnsafeBytes { JSONText.writeMember("value", $0, into: &body) }
      body.writeStaticString(",\"version\":")
      DecimalText.write(newest.stamp, into: &body)
      writeClock(newest.knowledge)
      if versions.all.count > 1 { body.writeString(",\"siblings\":\(versions.all.count)") }
      body.writeStaticString("}")
    default:
      answer.tagEpoch = Self.mergedEpoch
      answer.tagVersion = versions.tag
      if isConflict {
        answer.status = .multipleChoices
        answer.contentType = .json
        writeSiblings(versions)
      } else {
        answer.contentType = .bytes
        body.writeBytes(newest.value)
      }
    }
    return ReadAnswer(answer: answer)
  }

  /// The same of a key that has one value, as nearly always; nil where that is not so.
  private func readOnly(
    _ key: UnsafeRawBufferPointer, of merged: MergedStore
  ) -> ReadAnswer? {
    var answer: Answer?
    let now = store.nowMilliseconds
    _ = store.index.read(key, store.index.hasher(key)) { view in
      var cursor = KeyVersionCursor(view.value)
      guard view.large == nil, let only = cursor.next(), cursor.isAtEnd, !only.isHidden(at: now)
      else { return }
      var found = Answer(.ok, .bytes, version: only.stamp)
      found.tagEpoch = Self.mergedEpoch
      found.tagVersion = KeyVersions.tag(of: only.dot)
      found.context = only.knowledge
      body.writeBytes(only.value)
      answer = found
    }
    return answer.map { ReadAnswer(answer: $0) }
  }

  private func writeSiblings(_ versions: KeyVersions) {
    body.writeStaticString("{\"siblings\":[")
    for (index, version) in versions.all.enumerated() {
      body.writeStaticString(index == 0 ? "{" : ",{")
      version.value.withUnsafeBytes { JSONText.writeMember("value", $0, into: &body) }
      body.writeStaticString(",\"version\":")
      DecimalText.write(version.stamp, into: &body)
      writeClock(version.knowledge)
      body.writeStaticString("}")
    }
    body.writeStaticString("]}")
  }

  /// `,"clock":{"ORIGIN":NUMBER,…}`.
  func writeClock(_ clock: VersionVector) {
    let entries = clock.entries.map { "\"\(hexadecimal($0.origin))\":\($0.sequence)" }
    body.writeString(",\"clock\":{\(entries.joined(separator: ","))}")
  }

  /// What the client says that it has seen; nil where it says nothing.
  ///
  /// - Throws: the answer where that is none.
  func context(of lane: StandardLane) throws(RefusedOption) -> VersionVector? {
    let fields = lane.request?.headers[Self.contextField] ?? []
    guard !fields.isEmpty else { return nil }
    guard let merged = node.merged else {
      throw RefusedOption(
        answer: badOption(
          "\(Self.contextField) is for leaderless shards: this one has a leader. Use If-Match"))
    }
    guard fields.count == 1, let context = VersionVector(fields[0]) else {
      throw RefusedOption(answer: badOption("\(Self.contextField) is none that a node has given"))
    }
    // Of a log that this node has not heard of it has nothing to replace either.
    let known = merged.state.known(context)
    guard known[merged.own.origin] <= merged.own.feed.end.sequence else {
      throw RefusedOption(answer: badOption("\(Self.contextField) covers what was never written"))
    }
    // Whether it was can only be told once it is here; what was not would be kept out for ever when it comes.
    guard merged.state.applied.covers(known) else {
      throw RefusedOption(
        answer: unavailable(
          "\(Self.contextField) covers what has not come to this node yet: nothing was written"))
    }
    return known
  }

  struct RefusedOption: Error { let answer: Answer }

  /// The versions that entity tags stand for.
  func versions(of list: TagList) -> [UInt64] {
    guard node.merged != nil else { return list.versions(in: store.epochs) }
    guard case .tags(let tags) = list else { return [] }
    return tags.filter { $0.epoch == Self.mergedEpoch }.map(\.version)
  }

  /// A read of a leaderless shard that asks so many members.
  func readMembers(
    _ wanted: Int, for keys: [[UInt8]], _ merged: MergedStore, _ query: Parameters,
    _ lane: StandardLane, _ handle: @escaping () -> Handling
  ) -> Handling {
    guard askingReads < limits.askingReadsMax, !isDraining else {
      return .now(unavailable("overloaded: too many reads ask other members"))
    }
    askingReads += 1
    let milliseconds = timeoutMilliseconds(query)
    VersionRead.ask(
      wanted, for: keys, node, merged, within: .milliseconds(Int64(milliseconds)), on: eventLoop
    ) { result in
      self.askingReads -= 1
      guard lane.isOpen else { return }
      switch result {
      case .success(let versions):
        self.gathered = Dictionary(zip(keys, versions)) { first, _ in first }
        let handling = handle()
        self.gathered = nil
        lane.deliver(handling)
      case .failure(let few):
        lane.deliver(
          .now(
            self.unavailable(
              "\(wanted) members are to be asked, and \(few.count) of \(self.node.peers.count + 1) have answered"
            )))
      }
    }
    return .later
  }

  /// Handles a read once this node has all that a context covers, or says that it has not.
  func wait(
    for context: VersionVector, _ timeout: TimeAmount, _ merged: MergedStore, _ lane: StandardLane,
    _ handle: @escaping () -> Handling
  ) -> Handling {
    guard !isDraining, askingReads < limits.askingReadsMax else { return .now(notThereYet()) }
    askingReads += 1
    let deadline = NIODeadline.now() + timeout
    func look() {
      let isThere = merged.state.applied.covers(context)
      guard !isThere, NIODeadline.now() < deadline, lane.isOpen, !isDraining else {
        askingReads -= 1
        guard lane.isOpen else { return }
        return lane.deliver(isThere ? handle() : .now(notThereYet()))
      }
      _ = eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(5)) { look() }
    }
    _ = eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(1)) { look() }
    return .later
  }

  private func notThereYet() -> Answer { unavailable("min_version is not readable here yet") }
}
