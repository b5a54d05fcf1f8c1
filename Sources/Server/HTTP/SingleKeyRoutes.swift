import Engine
import NIOCore
import NIOHTTP1

/// The routes for one key, as they come by the standard pipeline.
extension LoopState {
  /// A key from a path; nil when its percent-encoding is bad.
  func decode(path: ArraySlice<UInt8>) -> [UInt8]? {
    let bytes = Array(path)
    var isGood = true
    let key = [UInt8](unsafeUninitializedCapacity: bytes.count) { room, count in
      let written = bytes.withUnsafeBytes {
        PercentEncoding.decode(path: $0, into: UnsafeMutableRawBufferPointer(room))
      }
      isGood = written != nil
      count = written ?? 0
    }
    return isGood ? key : nil
  }

  private func text(_ status: Status, _ message: StaticString) -> Handling {
    body.writeStaticString(message)
    return .now(Answer(status))
  }

  private func keyTooLong() -> Handling {
    writeError("the key is longer than \(limits.keyBytesMax) bytes")
    return .now(Answer(.targetTooLong, .json))
  }

  func valueTooLarge() -> Handling {
    writeError("the value is larger than \(limits.valueBytesMax) bytes")
    return .now(Answer(.contentTooLarge, .json))
  }

  private func read(_ route: Route, _ key: [UInt8]) -> ReadAnswer {
    key.withUnsafeBytes { read(route, $0) }
  }

  // MARK: - Classic

  func classicGet(_ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.classicGet)
    guard let key = query.first("key"), !key.isEmpty else {
      return text(.badRequest, "Missing key")
    }
    guard key.count <= limits.keyBytesMax else { return keyTooLong() }
    if let handling = elsewhere(key, lane, isRead: true) { return handling }
    return reading(query, lane, keys: [key]) { .now(self.read(.classicGet, key).answer) }
  }

  /// `/set`, in whatever form key and value come.
  func set(_ request: StandardRequest, _ query: Parameters, _ lane: StandardLane) -> Handling {
    var parameters = query
    if request.hasBody || request.method != .GET, request.body.readableBytes > 0 {
      if isJSON(request) { return jsonSet(request, query, lane) }
      guard let form = Parameters(request.body.readableBytesView) else {
        return .now(badEncoding())
      }
      parameters.append(form)
    } else if request.headers.isJSON, query.first("key") == nil {
      // With one, the type is that of a body that is not there.
      return jsonSet(request, query, lane)
    }
    lane.isFor(.classicSet)
    guard let key = parameters.first("key"), !key.isEmpty, let value = parameters.first("value")
    else { return text(.badRequest, "Missing key or value") }
    guard key.count <= limits.keyBytesMax else { return keyTooLong() }
    guard value.count <= limits.valueBytesMax else { return valueTooLarge() }
    if let handling = elsewhere(key, lane, isRead: false) { return handling }
    if let answer = writeOptions(query, lane) { return .now(answer) }
    guard let lifetime = TimeToLive(parameters.first("ttl")) else { return .now(badTimeToLive()) }
    return put(.classicSet, key, value.span.bytes, lifetime, .always, lane)
  }

  func classicDelete(
    _ request: StandardRequest, _ query: Parameters, _ lane: StandardLane
  ) -> Handling {
    lane.isFor(.classicDelete)
    var parameters = query
    if request.method == .POST {
      guard let form = Parameters(request.body.readableBytesView) else {
        return .now(badEncoding())
      }
      parameters.append(form)
    }
    guard let key = parameters.first("key"), !key.isEmpty else {
      return text(.badRequest, "Missing key")
    }
    guard key.count <= limits.keyBytesMax else { return keyTooLong() }
    if let handling = elsewhere(key, lane, isRead: false) { return handling }
    if let answer = writeOptions(query, lane) { return .now(answer) }
    guard parameters.first("ttl") == nil else { return .now(deleteHasLifetime()) }
    return delete(.classicDelete, key, .always, lane)
  }

  // MARK: - JSON

  /// As its type says; without one, as its first byte looks.
  private func isJSON(_ request: StandardRequest) -> Bool {
    if request.headers.isJSON { return true }
    if request.headers.contains(name: "content-type") { return false }
    let blanks: [UInt8] = [0x20, 0x09, 0x0a, 0x0d]
    return request.body.readableBytesView.first { !blanks.contains($0) } == UInt8(ascii: "{")
  }

  private func jsonSet(
    _ request: StandardRequest, _ query: Parameters, _ lane: StandardLane
  ) -> Handling {
    lane.isFor(.jsonSet)
    let asked = query.first("ttl")
    guard var lifetime = TimeToLive(asked) else { return .now(badTimeToLive()) }
    do {
      let body = request.body.readableBytesView
      let operation = try JSONOperation(setting: Array(body))
      guard operation.key.count <= limits.keyBytesMax else { return keyTooLong() }
      guard operation.value.count <= limits.valueBytesMax else { return valueTooLarge() }
      if let handling = elsewhere(operation.key, lane, isRead: false) { return handling }
      if let answer = writeOptions(query, lane) { return .now(answer) }
      if operation.lifetime != .unbounded {
        guard asked == nil else {
          return .now(badOption("ttl is there twice, in the query and in the body"))
        }
        lifetime = operation.lifetime
      }
      return put(.jsonSet, operation.key, operation.value.span.bytes, lifetime, .always, lane)
    } catch {
      writeError(error.reason)
      return .now(Answer(.badRequest, .json))
    }
  }

  func jsonGet(
    _ route: Route, _ path: ArraySlice<UInt8>, _ query: Parameters, _ lane: StandardLane
  ) -> Handling {
    lane.isFor(route)
    guard let key = decode(path: path) else { return .now(badEncoding()) }
    guard !key.isEmpty else { return .now(missingKey()) }
    guard key.count <= limits.keyBytesMax else { return keyTooLong() }
    if route != .localRead, let handling = elsewhere(key, lane, isRead: true) { return handling }
    return reading(query, lane, keys: [key], isLocal: route == .localRead) {
      .now(self.read(route, key).answer)
    }
  }

  private func missingKey() -> Answer {
    writeError("the key is empty")
    return Answer(.badRequest, .json)
  }

  // MARK: - REST

  func entry(
    _ path: ArraySlice<UInt8>, _ request: StandardRequest, _ query: Parameters,
    _ lane: StandardLane
  ) -> Handling {
    let route: Route =
      switch request.method {
      case .PUT: .restPut
      case .DELETE: .restDelete
      default: .restGet
      }
    lane.isFor(route)
    guard let key = decode(path: path) else { return .now(badEncoding()) }
    guard !key.isEmpty else { return .now(missingKey()) }
    guard key.count <= limits.keyBytesMax else { return keyTooLong() }
    if let handling = elsewhere(key, lane, isRead: route == .restGet) { return handling }
    guard let ifMatch = TagList(request.headers["if-match"], isStrong: true),
      let ifNoneMatch = TagList(request.headers["if-none-match"], isStrong: false)
    else { return .now(badRequest("If-Match or If-None-Match is no list of entity tags")) }
    if route == .restGet {
      return reading(query, lane, keys: [key]) { self.get(key, ifMatch, ifNoneMatch) }
    }
    // RFC 9110, 14.5: it would replace the whole value by a part of one.
    guard !request.headers.contains(name: "content-range") else {
      return .now(badRequest("a part of a value cannot be written"))
    }
    if let answer = writeOptions(query, lane) { return .now(answer) }
    let asked = query.first("ttl")
    guard let lifetime = TimeToLive(asked) else { return .now(badTimeToLive()) }
    guard route == .restPut || asked == nil else { return .now(deleteHasLifetime()) }
    let submission = gather(lane.quorum)
    let condition = WriteCondition(
      ifMatch: rule(ifMatch, submission), ifNoneMatch: rule(ifNoneMatch, submission))
    guard route == .restPut else { return delete(route, key, condition, lane) }
    return request.body.withUnsafeReadableBytes {
      put(route, key, $0.bytes, lifetime, condition, lane)
    }
  }

  private func rule(_ list: TagList, _ submission: Submission) -> WriteCondition.Rule {
    switch list {
    case .none: .none
    case .any: .any
    case .tags: .versions(submission.add(versions: versions(of: list)))
    }
  }

  private func get(_ key: [UInt8], _ ifMatch: TagList, _ ifNoneMatch: TagList) -> Handling {
    var read = read(.restGet, key)
    let isThere = read.answer.status == .ok || read.answer.status == .multipleChoices
    let version = isThere ? read.answer.tagVersion ?? read.answer.version : nil
    let matching = self.versions(of: ifMatch)
    let others = self.versions(of: ifNoneMatch)
    let condition = WriteCondition(
      ifMatch: ifMatch.rule(0..<matching.count),
      ifNoneMatch: ifNoneMatch.rule(matching.count..<matching.count + others.count))
    guard !condition.holds(for: version, versions: matching + others) else {
      if let large = read.large { return .value(read.answer, large) }
      return .now(read.answer)
    }
    body.clear()
    let matches = WriteCondition(ifMatch: condition.ifMatch)
    guard matches.holds(for: version, versions: matching + others) else {
      writeError("the condition does not hold")
      return .now(Answer(.preconditionFailed, .json))
    }
    // RFC 9110, 13.2.2: for a read this means that the client has what it would get.
    read.answer.status = .notModified
    return .now(read.answer)
  }

  // MARK: - Writing

  private func put(
    _ route: Route, _ key: [UInt8], _ value: RawSpan, _ lifetime: TimeToLive,
    _ condition: WriteCondition, _ lane: StandardLane
  ) -> Handling {
    guard hasRoom(forBytes: key.count + value.byteCount) else { return .now(overloaded(route)) }
    let context: VersionVector?
    do {
      context = try self.context(of: lane)
    } catch {
      return .now(error.answer)
    }
    key.withUnsafeBytes { key in
      value.withUnsafeBytes { value in
        gather(lane.quorum).put(
          key, value, store.index.hasher(key), expiry: expiry(lifetime), condition: condition,
          context: context, token: lane.token)
      }
    }
    return .later
  }

  private func deleteHasLifetime() -> Answer {
    badOption("a delete has no ttl: that is for what is stored")
  }

  private func delete(
    _ route: Route, _ key: [UInt8], _ condition: WriteCondition, _ lane: StandardLane
  ) -> Handling {
    guard hasRoom(forBytes: key.count) else { return .now(overloaded(route)) }
    let context: VersionVector?
    do {
      context = try self.context(of: lane)
    } catch {
      return .now(error.answer)
    }
    key.withUnsafeBytes { key in
      gather(lane.quorum).delete(
        key, store.index.hasher(key), condition: condition, context: context, token: lane.token)
    }
    return .later
  }
}

extension TagList {
  func rule(_ range: Range<Int>) -> WriteCondition.Rule {
    switch self {
    case .none: .none
    case .any: .any
    case .tags: .versions(range)
    }
  }
}

extension HTTPHeaders {
  var isJSON: Bool {
    guard let type = self["content-type"].first else { return false }
    return type.lowercased().split(separator: ";").first?.trimmingBlanks == "application/json"
  }
}
