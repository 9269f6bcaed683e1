export class StoryPage { title="x"; section="story"; draw(){} }
