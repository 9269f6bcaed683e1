export class GuestPage { title="x"; section="guests"; draw(){} }
