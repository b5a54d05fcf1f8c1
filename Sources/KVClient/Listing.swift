import Client
import NIOCore
import Sharding

/// Keys in order.
extension KVClient {
  /// A page of the cluster's keys, in ascending order of their bytes.
  ///
  /// A key that was there all the time is on exactly one page; one that came or went meanwhile, or not.
  ///
  /// - Parameters:
  ///   - prefix: only keys that begin so.
  ///   - after: only keys behind that one: what `KVPage.next` of the page before says.
  ///   - until: only keys below that one.
  ///   - limit: of keys, 1 to 10,000; a page may have fewer and not be the last one.
  ///   - shard: only that one, by its index; nil: each shard is asked, and the answers are merged.
  public func list(
    prefix: [UInt8] = [], after: [UInt8] = [], until: [UInt8]? = nil, limit: Int = 1_000,
    shard: Int? = nil, readFrom: KVReadSource? = nil
  ) async throws(KVClientError) -> KVPage {
    guard (1...10_000).contains(limit) else { throw .badRequest("limit must be from 1 to 10000") }
    try await loadRoutes(deadline: .now() + TimeAmount(options.timeout))
    let count = state.withLock { $0.shards.count }
    if let shard, !(0..<count).contains(shard) {
      throw .badRequest("there is no shard \(shard): there are \(count)")
    }
    var query = QueryText()
    if !prefix.isEmpty { query.add("prefix", bytes: prefix) }
    if !after.isEmpty { query.add("after", bytes: after) }
    if let until { query.add("until", bytes: until) }
    query.add("limit", limit)
    if let shard { return try await page(query, shard, of: count, readFrom) }
    let asked = query
    let pages = await withTaskGroup(of: Result<KVPage, KVClientError>.self) { group in
      for shard in 0..<count {
        group.addTask {
          do throws(KVClientError) {
            return .success(try await self.page(asked, shard, of: count, readFrom))
          } catch {
            return .failure(error)
          }
        }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    var found: [KVPage] = []
    for page in pages { found.append(try page.get()) }
    return Self.merged(found, limit: limit)
  }

  private func page(
    _ query: QueryText, _ shard: Int, of count: Int, _ readFrom: KVReadSource?
  ) async throws(KVClientError) -> KVPage {
    var call = read(.shard(shard, of: count), readFrom, nil, nil, query: query) { query in
      KVRequest(.GET, "/kv" + query)
    }
    call.needsRoutes = true
    let answered = try await perform(call)
    guard answered.answer.status == 200 else {
      throw KeyExchange.refusal(answered.answer, answered.node)
    }
    guard let page = KVPage(answered.answer) else {
      throw .unexpectedAnswer(answered.node, "the lines are no page of keys")
    }
    return page
  }

  /// Pages of disjoint sets of keys as one. It ends where the first of them does that goes on.
  package static func merged(_ pages: [KVPage], limit: Int) -> KVPage {
    let ends = pages.compactMap(\.next)
    let end = ends.min { $0.lexicographicallyPrecedes($1) }
    var keys = pages.flatMap(\.keys)
    if let end { keys.removeAll { end.lexicographicallyPrecedes($0.key) } }
    keys.sort { $0.key.lexicographicallyPrecedes($1.key) }
    guard keys.count > limit else { return KVPage(keys: keys, next: end) }
    keys.removeSubrange(limit...)
    return KVPage(keys: keys, next: keys.last?.key)
  }
}

extension KVPage {
  /// - Returns: nil when that is no page.
  init?(_ answer: KVResponse) {
    var keys: [Key] = []
    for line in answer.body.readableBytesView.split(separator: UInt8(ascii: "\n")) {
      guard let json = ConfigurationText.parsed(Array(line)), let key = json.bytes("key"),
        let version = json["version"]?.unsigned, let size = json["size"]?.unsigned
      else { return nil }
      keys.append(Key(key: key, version: version, size: size))
    }
    var next: [UInt8]?
    if let text = answer.headers.first(name: "X-KV-Next") {
      guard let key = QueryText.decoded(text) else { return nil }
      next = key
    }
    self.init(keys: keys, next: next)
  }
}
