import Engine
import NIOCore
import WAL

/// `POST /admin/announce`, by which a leader tells its replicas who is of the shard.
extension LoopState {
  func announced(_ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.announce)
    let told: Announcement
    do throws(Announcement.Refusal) {
      told = try Announcement(query)
    } catch {
      return .now(badOption("no announcement: \(error)"))
    }
    guard let change = node.configuration.onAnnouncement else {
      return .now(notTaken("this node knows its shard from elsewhere: no leader tells it anything"))
    }
    if told.membership == node.configuration.announcement, told.addressee == node.id {
      return .now(Answer(.noContent))
    }
    guard !node.isLeading else { return .now(notTaken("this node leads its shard")) }
    guard let history = told.history else {
      return .now(notTaken("another shard than this node is of, and not said with which log"))
    }
    guard history.origin == store.origin, history.epoch >= store.epoch else {
      return .now(
        notTaken(
          "this node has the log \(hexadecimal(store.origin)), in epoch \(store.epoch.text): it takes "
            + "no other, and no older one"))
    }
    // A leader that has moved does not answer where it was.
    if let known = node.configuration.announcement, known.leader != told.membership.leader,
      let following = node.following, following.trouble == nil, following.leaderEnd != nil
    {
      return .now(notTaken("this node follows \(following.leader), and hears of it"))
    }
    node.logger.notice(
      "\(told.membership.leader) announces another shard than before: this node starts anew")
    change(told)
    return .now(Answer(.noContent))
  }

  private func notTaken(_ reason: String) -> Answer {
    writeError(reason)
    return Answer(.conflict, .json)
  }
}
